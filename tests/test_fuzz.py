"""Hostile files, tables, arguments: clear messages, little memory, nothing outside --out.

Hypothesis draws the same examples in every run: what fails once fails again.
"""

import csv
import gzip
import os
import subprocess
import sys
import textwrap

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

import skadm
from skadm import IntensityDetector
from skadm.cli import main
from skadm.data import (
    ArrayVolume,
    NiftiVolume,
    SliceStack,
    make_phantom,
    read_any,
    read_brats,
    read_table,
    write_maps,
)
from skadm.preprocessing import IntensityNormalizer

SHAPE = (6, 5, 4)
AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])


def fuzz(max_examples):
    """Settings of hypothesis: the same examples in every run, and no folder of its own."""
    return settings(
        max_examples=max_examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


def voxels():
    return np.random.default_rng(0).integers(1, 1000, SHAPE).astype(np.int16)


def nifti(**fields):
    """Bytes of a .nii file whose header says what it is told to."""
    content = nib.Nifti1Image(voxels(), AFFINE).to_bytes()
    header = np.frombuffer(content, nib.Nifti1Header.template_dtype, 1).copy()
    for field, value in fields.items():
        name, _, index = field.partition("__")
        if index:
            header[0][name][int(index)] = value
        else:
            header[0][name] = value
    return header.tobytes() + content[348:]


def big_endian():
    image = nib.Nifti1Image(voxels(), AFFINE)
    return nib.Nifti1Image(
        voxels().astype(">i2"), AFFINE, image.header.as_byteswapped(">")
    ).to_bytes()


# -- headers -----------------------------------------------------------------------------

# What must be refused, by what the message has to say.
BROKEN = {
    "empty file": (b"", "not a readable NIfTI"),
    "text": (b"not a scan" * 100, "not a readable NIfTI"),
    "half a header": (nifti()[:200], "not a readable NIfTI"),
    "header alone": (nifti()[:352], "truncated or damaged"),
    "last voxel missing": (nifti()[:-1], "truncated or damaged"),
    "no magic": (nifti(magic=b"abc"), "not a readable NIfTI|expected a NIfTI file"),
    "unknown type": (nifti(datatype=9999), "not a readable NIfTI"),
    "complex": (nifti(datatype=32, bitpix=64), "expected real numbers|truncated"),
    "colour": (nifti(datatype=128, bitpix=24), "expected real numbers|truncated"),
    "no axis": (nifti(dim__0=0), "three-dimensional|not a readable"),
    "eight axes": (nifti(dim__0=8), "not a readable NIfTI"),
    "two axes": (nifti(dim__0=2), "three-dimensional"),
    "four axes": (nifti(dim__0=4, dim__4=2), "three-dimensional|truncated"),
    "axis of 0": (nifti(dim__2=0), "three-dimensional"),
    "negative axis": (nifti(dim__2=-5), "repair the header"),
    "two negative axes": (nifti(dim__1=-6, dim__2=-5), "repair the header"),
    "huge": (nifti(dim__1=30000, dim__2=30000, dim__3=30000), "truncated or damaged"),
    "one too many": (nifti(dim__3=SHAPE[2] + 1), "truncated or damaged"),
    "NaN in the affine": (nifti(srow_x__0=np.nan), "affine"),
    "infinity in the affine": (nifti(srow_y__3=np.inf), "affine"),
    "flat affine": (nifti(srow_z=0), "affine"),
    "two axes in one direction": (nifti(srow_x__1=1e17), "affine"),
    "offset of voxels NaN": (nifti(vox_offset=np.nan), "not a readable NIfTI"),
    "offset of voxels inside the header": (nifti(vox_offset=16), "not a readable NIfTI"),
    "offset of voxels beyond the file": (nifti(vox_offset=1e6), "truncated or damaged"),
    "scale that overflows": (nifti(scl_slope=3e38, scl_inter=0), "NaN or infinite"),
    "NaN to be added": (nifti(scl_slope=1, scl_inter=np.nan), "not a readable NIfTI"),
}


def refusal(path):
    """Message with which a file is refused, when it is opened or read."""
    with pytest.raises((ValueError, OSError)) as refused:
        NiftiVolume({"T1": path}, patient="P").read()
    message = str(refused.value)
    assert str(path) in message
    return message


@pytest.mark.parametrize("compressed", [False, True], ids=["nii", "nii.gz"])
@pytest.mark.parametrize("case", sorted(BROKEN))
def test_broken_headers(case, compressed, tmp_path):
    content, expected = BROKEN[case]
    path = tmp_path / ("t1.nii.gz" if compressed else "t1.nii")
    path.write_bytes(gzip.compress(content) if compressed else content)
    message = refusal(path)
    # What is hidden by compression within the bounds of the format shows when it is read.
    assert any(part in message for part in [*expected.split("|"), "truncated or damaged"])


# With names: gzip holds the time, and processes must collect the same tests.
@pytest.mark.parametrize(
    "content",
    [b"", gzip.compress(nifti())[:60], b"\x1f\x8b" + bytes(50)],
    ids=["empty", "truncated", "zeros"],
)
def test_broken_gzip(content, tmp_path):
    path = tmp_path / "t1.nii.gz"
    path.write_bytes(content)
    assert "not a readable NIfTI" in refusal(path)


SOUND = {
    "big-endian": big_endian(),
    "slope 0": nifti(scl_slope=0, scl_inter=7),
    "slope NaN": nifti(scl_slope=np.nan, scl_inter=7),
    "slope infinite": nifti(scl_slope=np.inf, scl_inter=7),
    "negative zooms": nifti(pixdim__1=-2, pixdim__2=-2),
    "zero zooms beside a good affine": nifti(pixdim__1=0, pixdim__3=0),
    "NaN in a field that nobody needs": nifti(cal_max=np.nan),
    "four axes, one time point": nifti(dim__0=4, dim__4=1),
    "bytes behind the voxels": nifti() + b"trailing" * 100,
}


@pytest.mark.parametrize("compressed", [False, True], ids=["nii", "nii.gz"])
@pytest.mark.parametrize("case", sorted(SOUND))
def test_odd_but_sound_headers(case, compressed, tmp_path):
    path = tmp_path / ("t1.nii.gz" if compressed else "t1.nii")
    path.write_bytes(gzip.compress(SOUND[case]) if compressed else SOUND[case])
    volume = NiftiVolume({"T1": path}, patient="P")
    np.testing.assert_array_equal(volume.read()[0][:, 0], voxels().T)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    stack = SliceStack.from_volumes([volume])
    (written,) = write_maps(stack.X[:, 0], stack, tmp_path / "maps")
    image = nib.load(written)
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_array_equal(image.get_fdata(), voxels())


@pytest.mark.slow
@fuzz(250)
@given(
    places=st.lists(
        st.tuples(st.integers(0, 355), st.integers(0, 255)), min_size=1, max_size=6
    ),
    compressed=st.booleans(),
)
def test_any_header(places, compressed, tmp_path):
    """Whatever stands in a header: its volume, or an error that names the file."""
    content = bytearray(nifti())
    for place, value in places:
        content[place] = value
    path = tmp_path / ("t1.nii.gz" if compressed else "t1.nii")
    path.write_bytes(gzip.compress(content) if compressed else content)
    error = ""
    try:
        volume = NiftiVolume({"T1": path}, patient="P")
        images, _ = volume.read()
    except (ValueError, OSError) as refused:
        error = str(refused)
    if error:
        assert str(path) in error
        return
    assert images.shape == (volume.n_slices, 1, *volume.shape)
    assert np.isfinite(images).all()


@pytest.mark.slow
@fuzz(100)
@given(content=st.binary(max_size=600), ending=st.sampled_from(["nii", "nii.gz", "hdr"]))
def test_any_bytes(content, ending, tmp_path):
    path = tmp_path / f"t1.{ending}"
    path.write_bytes(content)
    refusal(path)


# -- what is no file ---------------------------------------------------------------------


def test_folder_in_place_of_a_file(tmp_path):
    path = tmp_path / "P" / "P_t1.nii.gz"
    path.mkdir(parents=True)
    assert "a folder; expected a file" in refusal(path)
    with pytest.raises((ValueError, OSError), match="P_t1.nii.gz is a folder"):
        read_brats(tmp_path)


def test_symbolic_links_in_a_circle(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    a, b = folder / "A_t1.nii.gz", folder / "B"
    a.symlink_to(b)
    b.symlink_to(a)
    assert "no such file" in refusal(a)
    with pytest.raises((ValueError, OSError), match="A_t1.nii.gz"):
        read_brats(folder)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for reader in (read_brats, read_any, read_table):
        with pytest.raises(FileNotFoundError, match="loop: no such"):
            reader(loop)
    # A folder that holds itself is not walked for ever.
    (folder / "self").symlink_to(folder)
    a.unlink()
    b.unlink()
    with pytest.raises(ValueError, match="no patient found"):
        read_brats(folder)


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "t1.nii.gz"
    path.write_bytes(gzip.compress(nifti()))

    def denied(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    # Root may read everything: the refusal of the system is played.
    monkeypatch.setattr("pathlib.Path.open", denied)
    assert "Permission denied" in refusal(path)


# -- memory ------------------------------------------------------------------------------


def compressed_zeros(n_bytes, beginning):
    """A beginning and very many zeros, about a thousandth of their size."""
    block = 2**24
    # A gzip file may be several, one behind the other.
    return gzip.compress(beginning) + gzip.compress(bytes(block)) * (n_bytes // block)


def in_little_memory(code, *arguments):
    """Run Python where 256 MiB may be had beyond what the imports take."""
    prelude = """
        import resource, sys
        import numpy as np
        from skadm.data import NiftiVolume, read_brats
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 2**28
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_not_taken_for_what_is_not_there(tmp_path):
    """Bombs of a megabyte that expand to a gigabyte, and headers that promise terabytes."""
    gibibyte = 2**30

    def extended(length):
        """A header that announces an extension of a length, before voxels at 400."""
        start = nifti(vox_offset=400)[:348] + b"\x01\0\0\0"
        return compressed_zeros(gibibyte, start + np.array([length, 4], "i4").tobytes())

    bombs = {
        # Their voxels are all there, and whatever else there is is left alone.
        "behind the voxels": (compressed_zeros(gibibyte, nifti()), True),
        "extension": (extended(gibibyte), True),
        "extension without end": (extended(0), True),
        # Theirs are not, or there is no room for them.
        "huge": (gzip.compress(nifti(dim__1=30000, dim__2=30000, dim__3=30000)), False),
        "offset": (compressed_zeros(gibibyte, nifti(vox_offset=2.0**33)[:352]), False),
        "no room": (
            compressed_zeros(gibibyte, nifti(dim__1=1000, dim__2=1000, dim__3=500)[:352]),
            False,
        ),
    }
    for name, (content, _) in bombs.items():
        (tmp_path / f"{name}.nii.gz").write_bytes(content)
    code = """
        from pathlib import Path
        for path in sorted(Path(sys.argv[1]).glob("*.nii.gz")):
            try:
                volume = NiftiVolume({"T1": path}, patient="P")
                print(path.name, volume.read()[0].shape)
            except (ValueError, OSError, MemoryError) as error:
                assert str(path) in str(error), repr(error)
                # Voxels of zeros are read, and then refused for what they are.
                found = (4, 1, 5, 6) if "0 everywhere" in str(error) else "refused"
                print(path.name, found)
    """
    expected = {
        f"{name}.nii.gz "
        + (f"({SHAPE[2]}, 1, {SHAPE[1]}, {SHAPE[0]})" if sound else "refused")
        for name, (_, sound) in bombs.items()
    }
    assert set(in_little_memory(code, tmp_path).splitlines()) == expected


# -- tables ------------------------------------------------------------------------------


@pytest.mark.slow
@fuzz(100)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_table(content, tmp_path):
    table = tmp_path / "scans.csv"
    table.write_bytes(content)
    with pytest.raises((ValueError, OSError)) as refused:
        read_table(table)
    assert str(tmp_path) in str(refused.value) or "patients" in str(refused.value)


def test_field_longer_than_a_table_may_have(tmp_path):
    table = tmp_path / "scans.csv"
    table.write_text("patient,T1\n" + "x" * 200_000 + ",a.nii\n")
    with pytest.raises(ValueError, match=r"scans.csv is not a readable table"):
        read_table(table)


# -- nothing outside of --out ------------------------------------------------------------

HOSTILE = [
    *("../escaped", "../../escaped", "/escaped", "a/../../escaped", "..", ".", "a/b"),
    *("..\\escaped", "nul\0l", "two\nlines", "tab\there", "bell\a", "x" * 300, "é" * 150),
    *(
        "\u202eexe.gpj",
        "\u200b",
        "\ud800",
        "-rf",
        "~",
        "~root",
        "$HOME",
        "a b",
        "*",
        "P\u0301",
    ),
]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A model, and a scan for it, in a folder of their own."""
    place = tmp_path_factory.mktemp("fuzz")
    stack = make_phantom(1, 4, 16, contrasts=("FLAIR",), random_state=0)
    detector = IntensityDetector(prior={"FLAIR": 1.0})
    model = make_pipeline(IntensityNormalizer(), detector).fit(stack, stack.y)
    skadm.save(model, place / "model.skadm")
    flair = place / "flair.nii.gz"
    nib.save(nib.Nifti1Image(stack.X[:, 0].T, np.eye(4)), flair)
    return place


def everything(folder):
    return {
        path.relative_to(folder): path.lstat().st_mtime_ns for path in folder.rglob("*")
    }


def score(place, sandbox, patient, volume):
    """Score one scan under a name, and return code, message and what was written."""
    table = sandbox / "in" / "scans.csv"
    table.parent.mkdir(exist_ok=True)
    with table.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "volume", "FLAIR"])
        writer.writerow([patient, volume, place / "flair.nii.gz"])
    out = sandbox / "deep" / "down" / "out"
    out.mkdir(parents=True, exist_ok=True)
    before = everything(sandbox)
    arguments = ["score", "--model", place / "model.skadm", "--data", table, "--out", out]
    code = main([str(argument) for argument in [*arguments, "--binary"]])
    after = everything(sandbox)
    for path in out.iterdir():
        path.unlink()
    return code, set(after) - set(before), set(before) - set(after)


def check_written(code, written, lost):
    folder = "deep/down/out"
    assert not lost
    assert all(path.parent.as_posix() == folder for path in written)
    names = sorted(path.name for path in written)
    assert not any(name.startswith(f".{os.getpid()}.") for name in names)
    assert [name.rsplit("_")[-1] for name in names] == (
        ["anomaly.nii.gz", "segmentation.nii.gz"] if code == 0 else []
    )


@pytest.mark.parametrize("patient", HOSTILE, ids=ascii)
def test_hostile_names_of_patients(patient, scored, tmp_path, capsys):
    code, written, lost = score(scored, tmp_path, patient, "")
    check_written(code, written, lost)
    harmless = patient in ("-rf", "~", "~root", "$HOME", "a b", "*", "P\u0301")
    assert code == (0 if harmless else 1)
    message = capsys.readouterr().err
    if not harmless:
        (line,) = (line for line in message.splitlines() if "error" in line)
        assert "scans.csv" in line
        assert line.isprintable()


@pytest.mark.slow
@fuzz(40)
@given(
    patient=st.text(st.sampled_from("./\\~-_ aé\0\n\u202e\ud800*"), min_size=1, max_size=8),
    volume=st.text(st.sampled_from("./\\ a\n"), max_size=4),
)
def test_any_name_of_a_patient(patient, volume, scored, tmp_path_factory):
    sandbox = tmp_path_factory.mktemp("sandbox")
    code, written, lost = score(scored, sandbox, patient, volume)
    check_written(code, written, lost)


@pytest.mark.parametrize(
    "name", ["../escaped", "/escaped", "a/b", "nul\0l", "x" * 300, "\n"]
)
def test_hostile_names_of_volumes_in_memory(name, tmp_path):
    volume = ArrayVolume(np.ones((2, 1, 8, 8)), patient=name, contrasts=["T1"])
    stack = SliceStack.from_volumes([volume])
    with pytest.raises(ValueError, match="maps to be written: the name"):
        write_maps(np.ones((2, 8, 8)), stack, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# -- places --------------------------------------------------------------------------------


def brats_folder(folder, scored):
    """The scan of `scored` as a folder of one patient."""
    (folder / "P").mkdir(parents=True)
    (folder / "P" / "P_flair.nii.gz").write_bytes((scored / "flair.nii.gz").read_bytes())
    return folder


def in_loop(place):
    place.symlink_to(place)
    return place / "out"


def dangling(place):
    place.symlink_to(place.with_name("nothing"))
    return place


PLACES = {
    "that of the scans": (lambda place: place.parent / "in", "--out and --data are both"),
    "a file": (
        lambda place: place.parent / "in" / "P" / "P_flair.nii.gz",
        "is not a folder",
    ),
    "a link to nothing": (dangling, "is not a folder"),
    "in a link to itself": (in_loop, "link"),
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", ["score", "report", "evaluate", "demo", "prepare"])
def test_odd_places_of_results(command, place, force, scored, tmp_path, capsys):
    scans = brats_folder(tmp_path / "in", scored)
    make, told = PLACES[place]
    arguments = [command, "--data", scans, "--out", make(tmp_path / "out")]
    if command in ("score", "report", "evaluate"):
        arguments += ["--model", scored / "model.skadm"]
    arguments += ["--force"] * force
    before = everything(tmp_path)
    assert main([str(argument) for argument in arguments]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert told in line
    assert everything(tmp_path) == before


def test_link_in_the_place_of_a_model(scored, tmp_path, capsys):
    scans = brats_folder(tmp_path / "in", scored)
    out = dangling(tmp_path / "model.skadm")
    arguments = ["fit", "--data", scans, "--out", out, "--detector", "IntensityDetector"]
    assert main([str(argument) for argument in arguments]) == 1
    assert "exists; pass --force" in capsys.readouterr().err
    assert out.is_symlink()


@pytest.mark.parametrize("command", ["report", "demo"])
def test_link_among_the_results(command, scored, tmp_path, capsys):
    scans = brats_folder(tmp_path / "in", scored)
    (tmp_path / "elsewhere").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    for name in ("patients", "maps"):
        (out / name).symlink_to(tmp_path / "elsewhere")
    arguments = [command, "--data", scans, "--out", out, "--force"]
    if command == "report":
        arguments += ["--model", scored / "model.skadm"]
    assert main([str(argument) for argument in arguments]) == 1
    assert "is a link to a place outside" in capsys.readouterr().err
    assert not list((tmp_path / "elsewhere").iterdir())


def test_empty_folder(scored, tmp_path, capsys):
    model, data = scored / "model.skadm", tmp_path / "in"
    data.mkdir()
    for command in ("score", "report"):
        arguments = [command, "--model", model, "--data", data, "--out", tmp_path / "out"]
        assert main([str(argument) for argument in arguments]) == 1
        assert f"{data} is an empty folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_text(scored, tmp_path, capsys):
    """Bytes of another encoding: a patient's name must be readable, a file's need not."""
    scans = os.fsencode(brats_folder(tmp_path / "in", scored))
    odd = os.path.join(scans, b"P\xff")
    try:
        os.rename(os.path.join(scans, b"P"), odd)
    except OSError:
        pytest.skip("the file system has names of text only")
    arguments = ["score", "--model", scored / "model.skadm", "--data", tmp_path / "in"]
    out = tmp_path / os.fsdecode(b"out\xfe")
    arguments = [*map(str, arguments), "--out", str(out)]
    assert main(arguments) == 1
    assert "contains an unprintable character" in capsys.readouterr().err
    assert not out.exists()
    os.rename(os.path.join(odd, b"P_flair.nii.gz"), os.path.join(odd, b"\xff_flair.nii.gz"))
    os.rename(odd, os.path.join(scans, b"P"))
    assert main(arguments) == 0
    assert [path.name for path in out.iterdir()] == ["P_anomaly.nii.gz"]
    assert r"out\udcfe" in capsys.readouterr().out


# -- arguments ---------------------------------------------------------------------------

WORDS = [
    *("score", "fit", "evaluate", "demo", "list", "paint", "--data", "--model", "--out"),
    *("--patients", "--contrasts", "--size", "--seed", "--epochs", "--preset", "--device"),
    *("--detector", "--force", "--binary", "--no-figures", "--debug", "--slices", "--", ""),
    *(
        "0",
        "-1",
        "1e9",
        "99999999999999999999",
        "nan",
        "1/0",
        "..",
        "/",
        "~nobody/x",
        "\0",
        "é",
    ),
    *("x" * 5000, "IntensityDetector", "cpu", "quick", "FLAIR", "phantom", "toaster"),
]


@pytest.mark.slow
@fuzz(150)
@given(arguments=st.lists(st.sampled_from(WORDS), max_size=8))
def test_any_arguments(arguments, tmp_path_factory, monkeypatch):
    """Code 0, 1 or 2, whatever is said; none of these lines gets as far as to train."""
    sandbox = tmp_path_factory.mktemp("sandbox")
    monkeypatch.chdir(sandbox)

    def no_work(*_, **__):
        raise RuntimeError("work was begun")

    monkeypatch.setattr("skadm.base.BaseDetector.fit", no_work)
    monkeypatch.setattr("skadm.data.SliceStack.in_memory", no_work)
    monkeypatch.setattr("skadm.data._phantom.make_phantom", no_work)
    try:
        code = main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert code in (0, 1, 2)
    assert list(sandbox.iterdir()) == []
