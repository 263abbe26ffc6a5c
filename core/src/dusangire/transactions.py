"""Whether this task is inside a database transaction: where no call, task or message may start."""

from contextvars import ContextVar

inside_transaction: ContextVar[bool] = ContextVar("inside_transaction", default=False)


def assert_no_transaction(action: str) -> None:
    """A bug if it fails: what starts inside a transaction holds its locks, or dies with it."""
    if inside_transaction.get():
        raise RuntimeError(f"Inside a transaction nobody may {action}. Do it after the commit.")
