"""What can be wrong with an encoder that a user names. Every message is one plain sentence with the remedy."""


class EncoderError(LookupError):
    """The base of all of them."""


class UnknownEncoder(EncoderError):
    """No encoder has this name; the message holds the name, the nearest one and the choices."""


class UnsupportedEncoder(EncoderError):
    """The library has this model, but it cannot be read as image tokens; the message says why."""


class WeightsMissing(EncoderError):
    """Pretrained weights are not on this machine and cannot be had; says which, and how to fetch them."""


class WeightsMismatch(EncoderError):
    """A weights file does not fit the architecture, or is no file of plain tensors; lists what is wrong."""


class CardMismatch(EncoderError):
    """An encoder is not what its card says, or cannot be what its name asks for."""
