"""The one exception that means "what was asked for cannot be done", as opposed to a bug."""

import tempfile


class UserError(ValueError):
    """Something the user can put right: a flag, a path, a file, a shape.

    The message names it, says what was expected and ends with what was received. The command
    line prints it as one line and exits with code 2; `--debug` shows the traceback.
    """


def writable_folder(path, flag="--workdir"):
    """Makes the folder `path` (`pathlib.Path`) and sees that a file can be written in it.

    Raises:
        UserError: it cannot; names the flag.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise UserError(
            f"{flag}: expected a folder that can be written. Received: {path}: {error.strerror}"
        ) from None
