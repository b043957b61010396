"""Parameters are described once: by the class that brings them along."""

import re
import textwrap


def with_descriptions(cls: type) -> str | None:
    """Docstring of a class, with what its bases say of the parameters that it names.

    Parameters
    ----------
    cls : type
        A line such as ``%(max_epochs)s`` in its docstring stands for the description of
        that parameter or attribute in the docstring of the nearest base that has one. The
        lines after it may say more, indented as a description.

    Returns
    -------
    docstring : str or None
        None if there is none, as under ``python -OO``. Names that no base describes stay.
    """

    def description(line: re.Match[str]) -> str:
        indent, name = line.groups()
        for base in cls.__mro__[1:]:
            text = re.search(
                rf"^( *){name} : .*(?:\n\1 +\S.*)*", base.__doc__ or "", re.MULTILINE
            )
            if text is not None:
                return textwrap.indent(textwrap.dedent(text[0]), indent)
        return line[0]

    if cls.__doc__ is None:
        return None
    return re.sub(r"^( *)%\((\w+)\)s$", description, cls.__doc__, flags=re.MULTILINE)
