"""What can be wrong with an Extension, as its `status.lastError` says it to the person who wrote the Shoot."""

from auditsink.common.operator_error import OperatorError


class ExtensionError(OperatorError):
    """A sentence: what is wrong, where, what to do. `codes` are Gardener's error codes for it."""

    codes: tuple[str, ...] = ()


class ConfigurationError(ExtensionError):
    """The Shoot, or what it refers to, has to be changed; trying again does not help."""

    codes = ("ERR_CONFIGURATION_PROBLEM",)


class NotYetError(ExtensionError):
    """Something is still on its way; another attempt follows."""
