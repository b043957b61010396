"""Names of volumes, which become names of files."""

# Of bytes, so that a suffix and ".nii.gz" still fit into the 255 of common file systems.
_LONGEST = 200


def require_file_name(name: str, place: str) -> None:
    """Raise a ValueError unless files can be named after a volume, in the folder meant.

    A name comes from a table or a folder that others made, which `place` tells for the
    message. One that holds a separator would lead a written file somewhere else; one with
    characters that cannot be seen would pass for another.
    """
    if not name or name in (".", ".."):
        problem = "is no name of a file"
    elif "/" in name or "\\" in name:
        problem = "holds a separator of folders"
    elif not name.isprintable():
        problem = "holds a character that cannot be printed"
    elif len(name.encode()) > _LONGEST:
        problem = f"is longer than {_LONGEST} bytes"
        name = name[:40] + "…"
    else:
        return
    raise ValueError(
        f"{place}: the name {name!r} {problem}; files are named after it: rename the volume"
    )
