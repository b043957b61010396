"""Tables of the documentation, page by page."""

from benchmarks.lib.tables import ALL_DETECTORS, Table

_DATA = "../shared/data"
_BRATS = f"--data {_DATA}/brats"
_DISEASES = (
    ("brats", "glioma__brats_2021"),
    ("lgg", "lower_grade_glioma__tcga"),
    ("brats2020", "glioma__brats_2020"),
    ("healthy", "healthy"),
    ("ms", "multiple_sclerosis"),
    ("wmh", "white_matter_hyperintensities"),
    ("stroke", "stroke__isles_2022"),
)
_REFINED = "diseases --only brats lgg --methods " + " ".join(
    f"'Eraser, {tier} direction{how}'"
    for tier in ("learned", "known")
    for how in ("", ", edge-aware", ", self-trained, edge-aware")
)
_STROKES = "diseases --only isles2022 --full --methods " + " ".join(
    f"'{name}'"
    for name in (
        "DWI threshold",
        "Intensity, all contrasts",
        "DAE, all contrasts",
        "Eraser",
        "Eraser, all contrasts",
        "Eraser, all contrasts, self-trained",
        "Small-lesion eraser, all contrasts",
        "Stroke eraser, all contrasts",
        "Stroke eraser, all contrasts, any direction",
        "Stroke eraser, all contrasts, self-trained",
    )
)
_SPEED = (*ALL_DETECTORS, "skadm.metrics", "skadm.data")
_ADM = ("skadm.detectors.ADMDetector", "skadm.evaluation.evaluate_split")
_MIXTURE = ("skadm.detectors.GaussianMixtureDetector",)

_RESULTS = (
    *(Table(f"diseases_{name}", "diseases", f"of_{file}.csv") for name, file in _DISEASES),
    *(
        Table(f"diseases_{name}_patients", "diseases", f"ap_{file}.csv")
        for name, file in _DISEASES
        if name in ("ms", "wmh", "stroke")
    ),
    *(
        Table(f"refined_{name}", _REFINED, file)
        for name, file in {
            "brats": "of_glioma__brats_2021.csv",
            "brats_patients": "ap_glioma__brats_2021.csv",
            "lgg": "of_lower_grade_glioma__tcga.csv",
        }.items()
    ),
    Table("strokes", _STROKES, "of_stroke__isles_2022.csv"),
    Table("strokes_patients", _STROKES, "ap_stroke__isles_2022.csv"),
    Table("beyond_brats", f"beyond {_BRATS} --seeds 1", "pooled.csv"),
    Table("beyond_brats_seeds", f"beyond {_BRATS}", "pooled.csv"),
    Table(
        "beyond_self_trained",
        f"beyond {_BRATS} --seeds 1 --methods 'FLAIR + T2/2, smoothed, 3-D' "
        "'Eraser, learned direction, self-trained, 3-D' "
        "'Eraser, directed, self-trained, 3-D'",
        "pooled.csv",
    ),
    Table("false_positives", f"beyond {_BRATS} --seeds 1", "false_positives.csv"),
    Table(
        "zero_shot",
        f"zero_shot --data {_DATA}/brats {_DATA}/brats2020 {_DATA}/open_ms/mni "
        f"{_DATA}/mslesseg {_DATA}/wmh {_DATA}/healthy",
        "ap.csv",
    ),
    Table(
        "zero_shot_dice",
        f"zero_shot --data {_DATA}/brats {_DATA}/brats2020 {_DATA}/open_ms/mni "
        f"{_DATA}/mslesseg {_DATA}/wmh {_DATA}/healthy",
        "best_dice.csv",
    ),
    Table(
        "fine_tuned",
        f"zero_shot {_BRATS} --fine-tune 1 2 4 --from-scratch --folds 3 --every 6",
        "fine_tuned.csv",
        columns=("patients", "method", "seconds", "auc", "ap", "best_dice"),
    ),
    Table(
        "small_lesions",
        f"small_lesions --train {_DATA}/brats {_DATA}/healthy --data {_DATA}/mslesseg "
        f"{_DATA}/open_ms/mni {_DATA}/wmh",
        "small_lesions.csv",
        behind=("skadm.detectors.EraserDetector",),
    ),
    Table(
        "small_lesions_pretrained",
        f"small_lesions_pretrained --data {_DATA}/mslesseg {_DATA}/open_ms/mni "
        f"{_DATA}/wmh {_DATA}/healthy",
        "small_lesions_pretrained.csv",
        behind=("skadm.pretrained",),
    ),
    Table(
        "strokes_pretrained",
        f"small_lesions_pretrained --data {_DATA}/isles2022 --contrasts DWI ADC "
        "--prior DWI ADC=-1 --prior-rule all",
        "small_lesions_pretrained.csv",
        behind=("skadm.pretrained",),
    ),
    Table(
        "missing_contrasts",
        f"missing_contrasts {_BRATS}",
        "missing_contrasts.csv",
        behind=_ADM,
    ),
    Table(
        "robustness",
        f"robustness {_BRATS} --size 64 --preset quick --every 4",
        "robustness.csv",
    ),
    Table("compare_brats_test", f"compare {_BRATS}", "test.csv"),
    Table("compare_brats_validation", f"compare {_BRATS}", "validation.csv"),
    Table("compare_phantom_test", "compare", "test.csv"),
    Table("compare_phantom_validation", "compare", "validation.csv"),
)

_PAPER = (
    *(
        Table(f"paper_{split}{metrics}", f"compare {_BRATS}", "published.csv")
        for split in ("validation", "test")
        for metrics in ("", "_precision")
    ),
    Table("ablation", f"ablation {_BRATS}", "published.csv", behind=_ADM),
    Table(
        "adm_departures",
        f"adm {_BRATS} --size 64 --seeds 1 --energy-weights 5e-3 --trainings ADM "
        '"EM, brain channel"',
        "adm.csv",
        behind=_ADM,
    ),
    Table("lesion_size", f"lesion_size {_BRATS}", "lesion_size.csv"),
    Table("singularity", "singularity --seeds 10", "singularity.csv", behind=_ADM),
    Table("explanation", f"explanation {_BRATS}", "explanation.csv", behind=_ADM),
)

_THRESHOLDS = (
    Table(
        "conformal",
        "conformal",
        "conformal.csv",
        behind=(*_MIXTURE, "skadm.ConformalDetector"),
    ),
    Table(
        "conformal_lgg",
        f"conformal --data {_DATA}/lgg --alpha 0.1 0.25 --splits 10",
        "conformal.csv",
        behind=(*_MIXTURE, "skadm.ConformalDetector"),
    ),
    Table(
        "grid",
        f"grid {_BRATS} --budget --folds 2 --energy-weight 5e-4 5e-3 --n-components 3 6",
        "grid.csv",
        behind=_ADM,
    ),
    Table(
        "label_free",
        "label_free --budget --methods ADM GaussianMixture PCA",
        "label_free.csv",
    ),
    Table(
        "interval_coverage",
        "interval_coverage",
        "coverage.csv",
        behind=("skadm.evaluation.paired_t_tests",),
    ),
    Table(
        "intensity_shift",
        f"intensity_shift --data {_DATA}/lgg",
        "intensity_shift.csv",
        behind=_MIXTURE,
    ),
    Table(
        "flagged_share_phantom",
        f"flagged_share --train phantom --score phantom {_DATA}/brats {_DATA}/lgg "
        f"{_DATA}/wmh",
        "flagged_share.csv",
    ),
    Table(
        "flagged_share_lgg",
        f"flagged_share --train {_DATA}/lgg --score phantom {_DATA}/brats {_DATA}/wmh",
        "flagged_share.csv",
    ),
)

# What they say is compared with the package by a test, wording included.
_CATALOGUE = tuple(
    Table(name, "catalogue", f"{name}.csv", behind=())
    for name in ("detectors", "tuning", "presets")
)

_SCALING = (
    Table("cost", "cost", "cost.csv"),
    *(
        Table(f"speed_{name}", f"speed {options}", "speed.csv", behind=_SPEED)
        for name, options in {
            "phantom": "--only training scoring --repeats 3",
            "density": "--only density --repeats 5",
            "density_brats": f"{_BRATS} --only density --repeats 5",
            "equal_loss": "--only equal_loss --plain-epochs 5 10 20",
            "brats": f"{_BRATS} --only training scoring limit",
            "reading": f"{_BRATS} --only io --repeats 5",
            "metrics": "--only metrics --repeats 3",
            "parts": f"{_BRATS} --only parts --repeats 3",
            "growth": "--only growth --repeats 2",
        }.items()
    ),
    Table(
        "main_job",
        f"main_job {_BRATS} --jobs score",
        "main_job.csv",
        behind=("skadm.pretrained.load_pretrained", "skadm.cohort.score_cohort"),
    ),
    Table(
        "time_to_quality",
        f"time_to_quality {_BRATS} --shares 0.25 0.5 1 --methods 'Eraser, directed' "
        "'Eraser, pretrained, directed' 'DAE, directed'",
        "time_to_quality.csv",
    ),
    Table(
        "cohort",
        "cohort --volumes 50 200 2000",
        "cohort.csv",
        behind=("skadm.detectors.EraserDetector", "skadm.data"),
    ),
    Table("streaming", "streaming", "streaming.csv", behind=_SPEED),
    Table(
        "cache_growth",
        "cache_growth --volumes 100 500 2000",
        "cache_growth.csv",
        behind=_SPEED,
    ),
)

_OTHERS = (
    Table("eraser_parts", f"beyond {_BRATS} --seeds 1 --parts", "pooled.csv"),
    Table("filters_brats", f"postprocessing {_BRATS}", "postprocessing.csv"),
    Table("filters_phantom", "postprocessing", "postprocessing.csv"),
    Table(
        "added_normals",
        f"added_normals {_BRATS} --add {_DATA}/lgg --budget --seeds 1",
        "added_normals_test.csv",
        behind=_ADM,
    ),
    Table(
        "norm",
        f"validation_grid {_BRATS} --parameter norm --values batch instance none",
        "validation_grid.csv",
        behind=_ADM,
    ),
    Table(
        "regions",
        f"regions --data {_DATA}/lgg {_DATA}/brats {_DATA}/wmh {_DATA}/mslesseg "
        f"{_DATA}/open_ms/mni",
        "lists.csv",
        behind=(*ALL_DETECTORS, "skadm.report"),
    ),
    *(
        Table(
            f"preparation_{name}",
            f"preparation --data {_DATA}",
            f"{name}_comparison.csv",
            behind=("skadm.raw",),
        )
        for name in ("open_ms", "lgg")
    ),
)

TABLES = (*_RESULTS, *_PAPER, *_CATALOGUE, *_THRESHOLDS, *_SCALING, *_OTHERS)
"""All tables that pages include."""
