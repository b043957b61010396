"""Ends of a training that are not its own."""


class DivergenceError(RuntimeError):
    """A loss is not finite any more."""


class SingularCovarianceError(RuntimeError):
    """A covariance without a floor cannot be inverted any more (paper 2.7)."""
