"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """A fault in what the user supplied: input, configuration, artefact or command.

    The message is one clear line that names the offending thing, what was expected and the remedy.
    The command line prints it without a traceback and exits with status 2.
    """
