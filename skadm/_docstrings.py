"""What parameters and attributes mean that several detectors share, written once.

As nilearn's `fill_doc`: a docstring names a text in a line of its own, such as
``%(max_epochs)s``. What a detector has to add stands in the lines after it, indented as
a description.
"""

import re

_ALL = """\
max_epochs : int, default=50
    Epochs of each stage of the training, unless another parameter sets them.

batch_size : int, default=16
    Slices of a training step and of a scoring step. Scores do not depend on it.

learning_rate : float, default=1e-3
    Of Adam, at the peak of a one-cycle schedule.

augmentation : Augmentation, "default" or None, default="default"
    Random changes of training slices; "default" is ``Augmentation()``, None is none.

n_iter_no_change : int, default=None
    A stage stops when its training loss has not fallen by `tol` for so many epochs.
    None: never. No data is held out.

tol : float, default=1e-4
    See `n_iter_no_change`.

warm_start : bool, default=False
    Whether `fit` goes on from the weights of the last fit. `history_` grows.

checkpoints : str, path or Checkpoints, default=None
    Folder in which the training is kept while it runs, after every epoch, so that an
    interrupted fit goes on where it was; see `skadm.training.Checkpoints`. Needs an
    integer `random_state`. None: nothing is kept.

contamination : float, default=0.01
    Fraction of the training pixels that `predict` calls anomalous, in (0, 0.5]; sets
    `offset_` without labels.

device : str or torch.device, default="auto"
    "auto" is a GPU where there is one.

precision : {"auto", "float32", "bfloat16"}, default="auto"
    Of the convolutions. "auto" is bfloat16 where the processor or GPU computes it
    natively.

random_state : int, RandomState instance or None, default=None
    Seed of all that is drawn at random: weights, order of slices, augmentation, noise.

offset_ : float
    Threshold of `predict` on the scale of `score_samples`.

background_score_ : float
    Score of every background pixel.

n_features_in_ : int
    K, the number of contrasts.

contrasts_ : tuple of str or None
    Their names, if X carried them.
"""

_TEXTS = {text.partition(" : ")[0]: text for text in _ALL.strip().split("\n\n")}


def filled(docstring: str | None) -> str | None:
    """Put the shared texts into a docstring.

    Parameters
    ----------
    docstring : str or None
        Lines of the form ``%(name)s`` stand for texts. Names that are not known stay.

    Returns
    -------
    docstring : str or None
        With the texts, as far indented as the lines that name them.
    """
    if docstring is None:  # as under python -OO
        return None

    def text(line: re.Match[str]) -> str:
        indent, name = line.groups()
        if name not in _TEXTS:
            return line[0]
        return "\n".join(indent + part for part in _TEXTS[name].splitlines())

    return re.sub(r"^( *)%\((\w+)\)s$", text, docstring, flags=re.MULTILINE)
