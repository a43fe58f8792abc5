"""The base of every error that a person has to act on: whoever catches it has a text to show, and nothing to add."""


class OperatorError(Exception):
    """`str` says what happened, to which key or path, and what to do next: a sentence, or a line for each cause.

    It holds no secret. A subclass says which part could not do its work; the commands show all of them at one place,
    `auditsink.cli.run`.
    """
