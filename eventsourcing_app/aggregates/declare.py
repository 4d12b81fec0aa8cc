"""``@command`` and ``@applies``: how a model says what may be asked of it and what its events change.

No model is imported here, so that declarations can be made anywhere.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Protocol, TypeVar, get_type_hints, overload

from django.core.exceptions import ImproperlyConfigured

from eventsourcing_app.events.declare import declaration_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ParamSpec

    P = ParamSpec("P")

R = TypeVar("R")
F = TypeVar("F", bound="Callable[..., Any]")


class _Aggregate(Protocol):
    """What a command needs of the instance it is called on."""

    def _begin(self, command: Command) -> int: ...

    def _failed(self, command: Command, before: int) -> None: ...


A = TypeVar("A", bound=_Aggregate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument of a command: what forms, serializers and schemas are made of."""

    name: str
    annotation: Any
    required: bool
    default: Any = None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command as its model declares it."""

    name: str
    creates: bool
    function: Callable[..., Any]

    @property
    def description(self) -> str:
        """The first paragraph of its docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n\n")[0]

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The signature of its function, with ``self``."""
        return inspect.signature(self.function)

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its arguments, in the order of its signature, without ``self``."""
        return tuple(parameters_of(f"Command {self.function.__qualname__}", self.function, own=1))


def parameters_of(subject: str, function: Callable[..., Any], *, own: int = 0) -> Iterator[Parameter]:
    """Yield the arguments of a function but for the first ``own`` ones, in order.

    Raises ``ImproperlyConfigured`` for what no form and no schema can be made of.
    """
    try:
        hints = get_type_hints(function)
    except NameError as error:
        raise ImproperlyConfigured(
            f"{subject}: an annotation cannot be read ({error}). Import what it names at module level, outside "
            "`if TYPE_CHECKING`."
        ) from error
    for parameter in list(inspect.signature(function).parameters.values())[own:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ImproperlyConfigured(
                f"{subject}: *args, **kwargs and positional-only arguments cannot become a form or a schema. Name each "
                "argument."
            )
        if parameter.name not in hints:
            raise ImproperlyConfigured(f"{subject}: annotate {parameter.name!r}, so that it can be validated.")
        required = parameter.default is parameter.empty
        yield Parameter(
            name=parameter.name,
            annotation=hints[parameter.name],
            required=required,
            default=None if required else parameter.default,
        )


@overload
def command(function: Callable[Concatenate[A, P], R], /) -> Callable[Concatenate[A, P], R]: ...
@overload
def command(*, creates: bool = False) -> Callable[[Callable[Concatenate[A, P], R]], Callable[Concatenate[A, P], R]]: ...
def command(function: Callable[..., Any] | None = None, /, *, creates: bool = False) -> Any:
    """Mark a method as a command: it decides, and records events or raises ``CommandRejected``.

    ``creates=True`` marks a command that begins a new aggregate; the others need one that exists. Its signature and
    docstring describe it to admin and API, so every argument has a name and an annotation. If it raises after it has
    recorded an event, the instance is spent: nothing of it can be saved.
    """
    if function is None:
        return functools.partial(_command, creates=creates)
    return _command(function, creates=False)


def _command(function: Callable[..., Any], *, creates: bool) -> Callable[..., Any]:
    require_plain(function)
    declared = Command(name=function.__name__, creates=creates, function=function)

    @functools.wraps(function)
    def run(self: _Aggregate, *args: Any, **kwargs: Any) -> Any:
        before = self._begin(declared)
        try:
            return function(self, *args, **kwargs)
        except BaseException:
            self._failed(declared, before)
            raise

    run.__command__ = declared  # type: ignore[attr-defined]
    return run


def require_plain(function: Callable[..., Any]) -> None:
    """Raise ``ImproperlyConfigured`` for a function whose body does not run when it is called."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ImproperlyConfigured(
            f"{function.__qualname__} is a coroutine function: nobody would await it, and it would count as done. "
            "Declare a plain function, and call asgiref's async_to_sync inside."
        )
    if inspect.isgeneratorfunction(function):
        raise ImproperlyConfigured(
            f"{function.__qualname__} is a generator: its body would not run, and it would count as done. Use no yield."
        )


def command_of(function: object) -> Command:
    """Return the declaration of a command. Raises ``TypeError`` for anything else."""
    declared = getattr(function, "__command__", None)
    if not isinstance(declared, Command):
        raise TypeError(f"{function!r} is not a command: decorate the method with @command.")
    return declared


def applies(*events: type) -> Callable[[F], F]:
    """Mark the method that changes the state by an event: ``def _deposited(self, event: MoneyDeposited)``.

    It must be pure: it assigns fields from the event and the state, never refuses, and does no I/O, because a replay
    runs it again. Name the event class; several may share a method.
    """
    for event in events:
        declaration_of(event)

    def mark(method: F) -> F:
        require_plain(method)
        method.__applies__ = events  # type: ignore[attr-defined]
        return method

    return mark
