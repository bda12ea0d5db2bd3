"""What the store and the team's rules refuse; each message says what to do."""


class StoreError(ValueError):
    """The store refuses; the message says what to do."""


class UnknownError(StoreError):
    """There is no such entry, revision or conflict in this dataset."""


class ForbiddenError(StoreError):
    """The user may not do this."""


class HeldError(StoreError):
    """Somebody else works on the entry."""


class ChangedError(StoreError):
    """What the user decided on has changed since they saw it."""
