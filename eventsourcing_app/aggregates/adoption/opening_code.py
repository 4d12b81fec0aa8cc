"""The code of an opening event, written for a model: what a team pastes, reads and makes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import models

from eventsourcing_app.aggregates.recording import OF_THE_EVENT, history_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventsourcing_app.aggregates.model import EventSourcedModel

_TYPES: Final[Mapping[type[models.Field[Any, Any]], str]] = {
    models.BooleanField: "bool",
    models.UUIDField: "UUID",
    models.DecimalField: "Decimal",
    models.FloatField: "float",
    models.DurationField: "timedelta",
    models.DateTimeField: "datetime",  # is a DateField, too
    models.DateField: "date",
    models.TimeField: "time",
    models.IntegerField: "int",
    models.JSONField: "str",
    models.FileField: "str",
    models.CharField: "str",
    models.TextField: "str",
    models.GenericIPAddressField: "str",
    models.FilePathField: "str",
}
_IMPORTS: Final = {
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
    "uuid": ("UUID",),
}


def stated_fields(model: type[models.Model]) -> tuple[models.Field[Any, Any], ...]:
    """Return the fields that an opening event has to state: those with a history, but for what the base keeps."""
    return tuple(field for field in history_fields(model) if field.name not in OF_THE_EVENT)


def suggested_code(model: type[EventSourcedModel]) -> str:
    """Return the code that adopts the rows of ``model``: an event with its fields, and the method that applies it."""
    name = f"{model.__name__}Adopted" if model.adoption_event is None else model.adoption_event.__name__
    fields = stated_fields(model)
    types = {field.attname: _type_of(field) for field in fields}
    parts = [
        f"# events.py of {model._meta.app_label}",
        *_imports(types),
        "",
        "from eventsourcing_app import event",
        "",
        "",
        f'@event("{model.stream_type}_adopted")',
        f"class {name}:",
        *_lines([f"    {field.attname}: {types[field.attname]}{_remark(field)}" for field in fields]),
        "",
        "",
        f"# models.py, in class {model.__name__}",
        f"    adoption_event: ClassVar[type | None] = {name}",
        "",
        f"    @applies({name})",
        f"    def _adopted(self, event: {name}) -> None:",
        *_lines([f"        self.{field.attname} = {_assigned(field)}" for field in fields]),
    ]
    return "\n".join(parts)


def _lines(lines: Sequence[str]) -> Sequence[str]:
    return lines or ["    pass"]


def _imports(types: Mapping[str, str]) -> list[str]:
    used = " ".join(types.values()).replace("[", " ").replace("]", " ").split()
    wanted = {module: [name for name in names if name in used] for module, names in _IMPORTS.items()}
    return [f"from {module} import {', '.join(names)}" for module, names in wanted.items() if names]


def _type_of(field: models.Field[Any, Any]) -> str:
    plain = field
    while isinstance(plain, models.ForeignKey):
        plain = plain.target_field
    inner = getattr(plain, "base_field", None)  # an array
    name = f"list[{_type_of(inner)}]" if inner is not None else _name(plain)
    return f"{name} | None" if field.null else name


def _name(field: models.Field[Any, Any]) -> str:
    return next((name for kind, name in _TYPES.items() if isinstance(field, kind)), "str")


def _remark(field: models.Field[Any, Any]) -> str:
    if isinstance(field, models.JSONField):
        return "  # its JSON as text; or the type of what is in it, such as dict[str, str]"
    known = isinstance(field, models.ForeignKey) or hasattr(field, "base_field") or isinstance(field, tuple(_TYPES))
    return "" if known else f"  # of a {type(field).__name__}: say what it holds"


def _assigned(field: models.Field[Any, Any]) -> str:
    value = f"event.{field.attname}"
    if not isinstance(field, models.JSONField):
        return value
    return f"{value} and json.loads({value})" if field.null else f"json.loads({value})"
