"""The one exception that means "what was asked for cannot be done", as opposed to a bug."""


class UserError(ValueError):
    """Something the user can put right: a flag, a path, a file, a shape.

    The message names it, says what was expected and ends with what was received. The command
    line prints it as one line and exits with code 2; `--debug` shows the traceback.
    """
