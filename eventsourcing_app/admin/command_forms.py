"""From the signature of a command to a form: labels from the model's fields, explanations from the docstring."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import BLANK_CHOICE_DASH
from django.utils.html import escape
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from eventsourcing_app.admin.command_fields import LinesField, MemberField, field_for
from eventsourcing_app.admin.docstrings import explained_arguments
from eventsourcing_app.admin.values import label_of
from eventsourcing_app.aggregates.arguments import Kind, arguments_of, field_named

if TYPE_CHECKING:
    from eventsourcing_app.aggregates.arguments import Argument
    from eventsourcing_app.aggregates.declare import Command


class CommandForm(forms.Form):
    """The arguments of a command."""

    optional: ClassVar[frozenset[str]] = frozenset()
    """The arguments that have a default, with which the form begins."""

    def arguments(self) -> dict[str, Any]:
        """Return what was given; an argument that was left as the form began is left to its default."""
        left = self.optional.difference(self.changed_data)
        return {name: value for name, value in self.cleaned_data.items() if name not in left}


def form_for(model: type[models.Model], command: Command) -> type[CommandForm]:
    """Make the form of a command's arguments, in the language of now.

    Raises ``ImproperlyConfigured`` for a type that it cannot read.
    """
    return _form_in(get_language(), model, command)


@cache
def _form_in(_language: str | None, model: type[models.Model], command: Command) -> type[CommandForm]:
    # Its texts are put together of others, so that they cannot stay lazy: each language has a form.
    subject = f"{model.__name__}.{command.name}"
    arguments = arguments_of(subject, model, command.parameters)
    explained = explained_arguments(command.function)
    fields: dict[str, Any] = {}
    for argument in arguments:
        try:
            fields[argument.name] = _field(model, argument, explained.get(argument.name, ""))
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(f"{subject}({argument.name}): {error}") from error
    made: Any = type(f"{model.__name__}{command.name.title()}Form", (CommandForm,), fields)
    # Not among the fields, one of which may have that name.
    made.optional = frozenset(argument.name for argument in arguments if not argument.required)
    return cast("type[CommandForm]", made)


def misfit(form: type[forms.Form], command: Command) -> str | None:
    """Say which arguments of a command a form lacks, and which of its fields are none; ``None`` if it fits.

    Nothing is said of a form with an ``__init__()`` or a ``clean()`` of its own, which may change what it reads.
    """
    if any(getattr(form, name) is not getattr(forms.Form, name) for name in ("__init__", "clean")):
        return None
    parameters = list(command.signature.parameters.values())[1:]
    named = {each.name: each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    lacking = [name for name, each in named.items() if each.default is each.empty and name not in form.base_fields]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    unknown = [] if takes_any else [name for name in form.base_fields if name not in named]
    said = [f"it lacks the argument {name!r}" for name in lacking]
    said += [f"its field {name!r} is none of the arguments" for name in unknown]
    return ", and ".join(said) or None


def _field(model: type[models.Model], argument: Argument, explained: str) -> forms.Field:
    source = field_named(model, argument.name)
    options = {"label": label_of(model, argument.name), "required": _is_required(argument, source)}
    if argument.shape.kind is Kind.TEXT and source is not None and source.choices:
        field = _choice(argument, source, options)
    else:
        field = field_for(argument.shape, initial=None if argument.required else argument.default, **options)
        if isinstance(source, models.TextField) and isinstance(field.widget, AdminTextInputWidget):
            field.widget = AdminTextareaWidget()
    if isinstance(field, MemberField):
        field.initial = field.text_of(field.initial)
    # The admin's templates take it for HTML.
    text = escape(explained or str(getattr(source, "help_text", "")))
    field.help_text = " ".join(filter(None, (text, *_notes(argument, field))))
    return field


def _is_required(argument: Argument, source: models.Field[Any, Any] | None) -> bool:
    """Whether something must be entered. What has no default is to be said, even if any text will do."""
    shape = argument.shape
    if shape.nullable:
        return False
    if shape.kind is not Kind.TEXT:
        return True
    may_be_empty = shape.blank and (not argument.required or bool(source is not None and source.blank))
    return not may_be_empty


def _choice(argument: Argument, source: models.Field[Any, Any], options: dict[str, Any]) -> forms.Field:
    choices = list(source.get_choices(include_blank=False))
    initial = "" if argument.required or argument.default is None else str(argument.default)
    if initial not in ("", *(str(value) for value, _label in source.flatchoices)):
        choices.insert(0, (initial, initial))
    if not initial or not options["required"]:
        choices = [*BLANK_CHOICE_DASH, *choices]
    empty = None if argument.shape.nullable else ""
    return forms.TypedChoiceField(choices=choices, empty_value=empty, initial=initial, **options)


def _notes(argument: Argument, field: forms.Field) -> list[str]:
    shape = argument.shape
    notes = []
    if isinstance(field, LinesField):
        notes.append(_("One a line."))
        if isinstance(field.item, MemberField):
            notes.append(escape(", ".join(field.item.members)))
        shape = shape.item or shape
    if shape.kind is Kind.MOMENT:
        notes.append(_("The time is in UTC."))
    return notes
