"""What a row becomes: one example, either a prompt with its completion or a conversation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; role is `system`, `user`, `assistant` or `tool`."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """One example. The loss counts the completion, or the assistant's turns of `messages`.

    choices: the verbalizers of a classification, in the order of its labels; label: index of the
    right one, so that completion == choices[label]; among_choices: the loss compares the choices with
    each other only, not with the whole vocabulary. An example with choices ends without an
    end-of-sequence token, because a verbalizer is compared with the others and not generated.
    """

    prompt: str = ""
    completion: str = ""
    messages: tuple[Message, ...] = ()
    choices: tuple[str, ...] = ()
    label: int | None = None
    among_choices: bool = False

    @property
    def characters(self) -> int:
        """Length of all its text."""
        turns = sum(len(message.content) for message in self.messages)
        return len(self.prompt) + len(self.completion) + turns
