"""Checks of volume names, which become file names."""

# Bytes; leaves room for a suffix and ".nii.gz" within the usual limit of 255.
_LONGEST = 200


def require_file_name(name: str, place: str) -> None:
    """Raise a ValueError unless a volume name can be used as a file name.

    Names come from tables and folders (`place`, for the message). A path separator would
    redirect written files; unprintable characters could make two names look alike.
    """
    if not name or name in (".", ".."):
        problem = "is not a file name"
    elif "/" in name or "\\" in name:
        problem = "contains a path separator"
    elif not name.isprintable():
        problem = "contains an unprintable character"
    elif len(name.encode()) > _LONGEST:
        problem = f"is longer than {_LONGEST} bytes"
        name = name[:40] + "…"
    else:
        return
    raise ValueError(
        f"{place}: the name {name!r} {problem}; files are named after it: rename the volume"
    )
