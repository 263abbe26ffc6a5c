"""Messages on the terminal, a line each: for the demo, where nobody has a mailbox."""

from collections.abc import Callable
from dataclasses import dataclass

from dusangire import hookimpl
from dusangire.channels import ChannelDescription, Delivered, Delivery, Message


@dataclass(frozen=True, eq=False)
class Console:
    """A channel that needs no address: all staff read the same terminal."""

    write: Callable[[str], object]

    @hookimpl
    def describe_channel(self) -> ChannelDescription:
        return ChannelDescription(name="Console", needs=None)

    @hookimpl
    async def send_message(self, message: Message) -> Delivery:
        self.write(f"message ({message.notice}, {message.locale}): {message.short}\n")
        return Delivered()
