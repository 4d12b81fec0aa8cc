"""Commands of event-sourced models in the admin: a button for each, and a form made of its signature.

The only way in which a page of the admin writes: what a command decides is recorded as events, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from django import forms
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import quote, unquote
from django.core import checks
from django.core.exceptions import BadRequest, ImproperlyConfigured, PermissionDenied, ValidationError
from django.http import Http404
from django.urls import path, re_path, reverse
from django.utils.translation import gettext as _

from eventsourcing_app.access.commands import permission_of
from eventsourcing_app.access.events import is_text
from eventsourcing_app.access.locking import locking
from eventsourcing_app.admin.command_forms import CommandForm, form_for, misfit
from eventsourcing_app.admin.command_pages import CommandPage, FormState
from eventsourcing_app.admin.command_runs import Call, Moved, NotDone, run
from eventsourcing_app.admin.docstrings import paragraphs_of
from eventsourcing_app.admin.extending import CHANGE_FORM, CHANGE_LIST, ExtendingMixin
from eventsourcing_app.aggregates.dispatch import commands_of
from eventsourcing_app.aggregates.model import EventSourcedModel
from eventsourcing_app.conf import conf

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from eventsourcing_app.aggregates.declare import Command

A = TypeVar("A", bound=EventSourcedModel)
Rule: TypeAlias = "Callable[[HttpRequest, EventSourcedModel | None], bool]"
"""Whether a request may run a command on an aggregate; on none, if the command creates one."""

_PAGES = frozenset({"change", "delete", "history", "past"})
"""What the pages of an object are called in their addresses."""


class Button(NamedTuple):
    """What leads to the form of a command."""

    url: str
    title: str
    description: str


class CommandsMixin(ExtendingMixin[A]):
    """Offers the commands of an event-sourced model, for any ``ModelAdmin`` of one: ``EventSourcedAdmin`` has it.

    Commands on what exists are buttons on its page, creating ones on the list. Each needs the model's view permission
    and its own, ``permission_of``; which objects there are for a user, ``get_queryset`` and ``has_view_permission``
    say. The form has a field for each argument; it is run on the version that was shown, once for each form.
    """

    change_form_template = CHANGE_FORM
    change_list_template = CHANGE_LIST
    command_form_template = "admin/eventsourcing_app/command_form.html"
    commands: ClassVar[Sequence[str] | None] = None
    """Names of the commands to offer, in order; all of them by default."""
    command_forms: ClassVar[Mapping[str, type[forms.Form]]] = {}
    """By the name of a command, the form of its arguments, instead of what is made of its signature."""
    command_permissions: ClassVar[Mapping[str, str | Rule]] = {}
    """By the name of a command, the permission that it needs, or a function of request and object that decides."""

    @property
    def media(self) -> forms.Media:
        own = forms.Media(css={"all": ["eventsourcing_app/admin.css", "eventsourcing_app/aggregate.css"]})
        return super().media + own

    # Hooks

    def get_commands(self, request: HttpRequest, obj: A | None = None) -> list[Command]:
        """Return the commands to offer to a user on an object; without one, those that create. No other can be run."""
        return [command for command in self._allowed(request, obj) if self._problem(command) is None]

    def get_command_form(self, request: HttpRequest, command: Command, obj: A | None = None) -> type[forms.Form]:
        """Return the form of a command's arguments. Raises ``ImproperlyConfigured`` if none can be made."""
        return self.command_forms.get(command.name) or form_for(self.model, command)

    def arguments_for(self, request: HttpRequest, command: Command, cleaned: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments to run a command with, from what its form has read."""
        return cleaned

    def command_permission(self, command: Command) -> str | Rule:
        """Return the permission that a command needs, or a function that decides: see ``command_permissions``."""
        return self.command_permissions.get(command.name) or permission_of(self.model, command)

    def command_title(self, command: Command) -> str:
        """Return what a command is called: what its name says, in the language of the user if that is translated."""
        title = _(command.name.replace("_", " ").strip().capitalize())
        return _("%(command)s %(model)s") % self._named(title) if command.creates else title

    # Where they are

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_command"
        wrap = self.admin_site.admin_view
        creating = {each.name for each in commands_of(self.model).values() if each.creates}
        urls: list[Any] = [path("<path:object_id>/command/<str:name>/", wrap(self.command_view), name=name)]
        # By name, and marked if a page has that name, or an object with the key "command" would have no other page.
        for mark, names in (("", creating - _PAGES), ("_", creating & _PAGES)):
            if names:
                pattern = rf"^command/{mark}(?P<name>{'|'.join(sorted(names))})/$"
                urls.append(re_path(pattern, wrap(self.command_view), name=name))
        return [*urls, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {**self._offered_on(request, None), **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        obj: A | None = kwargs.get("obj")
        if obj is not None and not context.get("is_popup"):
            context.update(self._offered_on(request, obj))
        return super().render_change_form(request, context, *args, **kwargs)

    def _offered_on(self, request: HttpRequest, obj: A | None) -> dict[str, list[Button]]:
        offered, allowed = self.get_commands(request, obj), self._allowed(request, obj)
        without = [command for command in allowed if self._problem(command) is not None]
        return {
            "aggregate_commands": [self._button(request, command, obj) for command in offered],
            "commands_without_form": [self._button(request, command, obj) for command in without],
        }

    def _button(self, request: HttpRequest, command: Command, obj: A | None) -> Button:
        description = next(iter(paragraphs_of(command.function)), "")
        url = self.command_url(command, None if obj is None else obj.pk)
        url = add_preserved_filters({"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}, url)
        return Button(url, self.command_title(command), _(description) if description else "")

    def command_url(self, command: Command, pk: Any = None) -> str:
        """Return the address of a command's form."""
        arguments = [command.name] if command.creates else [quote(pk), command.name]
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_command"
        return reverse(name, args=arguments, current_app=self.admin_site.name)

    # Who may

    def _allowed(self, request: HttpRequest, obj: A | None) -> list[Command]:
        if not self.has_view_or_change_permission(request, obj) or (obj is not None and obj.ended):
            return []
        return [
            command
            for command in self._offered().values()
            if command.creates == (obj is None) and self._may(request, command, obj)
        ]

    def _offered(self) -> dict[str, Command]:
        declared = commands_of(self.model)
        names = declared if self.commands is None else self.commands
        return {name: declared[name] for name in names if name in declared}

    def _may(self, request: HttpRequest, command: Command, obj: A | None) -> bool:
        needed = self.command_permission(command)
        return needed(request, obj) if callable(needed) else request.user.has_perm(needed)

    def _problem(self, command: Command) -> str | None:
        """Say why no form can be made of a command, if none can."""
        if command.name in self.command_forms:
            return None
        try:
            form_for(self.model, command)
        except ImproperlyConfigured as error:
            return str(error)
        return None

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Say which commands are named that there are not, of which no form can be made, and which forms do not fit."""
        found = super().check(**kwargs)
        declared, page = commands_of(self.model), type(self)
        own_arguments = any(
            getattr(page, name) is not getattr(CommandsMixin, name) for name in ("arguments_for", "get_command_form")
        )
        for attribute in ("commands", "command_forms", "command_permissions"):
            for name in sorted(set(getattr(self, attribute) or ()) - set(declared)):
                message = f"{page.__qualname__}.{attribute}: {self.model.__name__} has no command {name!r}."
                found.append(checks.Error(message, obj=page, id="eventsourcing_app.E062"))
        for command in self._offered().values():
            if (problem := self._problem(command)) is not None:
                hint = "Name a form for it in `command_forms`, or leave it out of `commands`."
                message = f"{page.__qualname__} offers {command.name!r} without a form: {problem}"
                found.append(checks.Warning(message, hint=hint, obj=page, id="eventsourcing_app.W063"))
            form = self.command_forms.get(command.name)
            if form is not None and not own_arguments and (problem := misfit(form, command)) is not None:
                hint = "Name its fields as the arguments, or override `arguments_for()`."
                message = f"{form.__qualname__} is no form for {self.model.__name__}.{command.name}: {problem}."
                found.append(checks.Error(message, hint=hint, obj=page, id="eventsourcing_app.E064"))
        return found

    # The page

    def command_view(self, request: HttpRequest, name: str, object_id: str | None = None) -> HttpResponse:
        """The form of a command; what is sent is run. Nothing else writes."""
        command = self._offered().get(name)
        if command is None or command.creates != (object_id is None):
            raise Http404
        needed = self.command_permission(command)
        if not self.has_view_or_change_permission(request) or not (callable(needed) or request.user.has_perm(needed)):
            raise PermissionDenied
        text = None if object_id is None else unquote(object_id)
        obj = None if text is None else self._visible(request, text)
        if request.method == "POST":
            return self._sent(request, command, text, obj)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            raise PermissionDenied
        self._require(request, command, text, obj)
        page = CommandPage(self, request, command, obj)
        if (problem := self._problem(command)) is not None:
            return page.explained(problem)
        if (key := page.asked_key()) is None:
            return page.begun()
        form = self.get_command_form(request, command, obj)()
        return page.shown(FormState(form, key, 0 if obj is None else obj.version))

    def _sent(self, request: HttpRequest, command: Command, text: str | None, obj: A | None) -> HttpResponse:
        page = CommandPage(self, request, command, obj)
        if self._problem(command) is not None:
            raise BadRequest("There is no form for this command.")
        key, version = page.sent_key(), 0 if command.creates else page.sent_version()
        form = self.get_command_form(request, command, obj)(request.POST, request.FILES)
        if not form.is_valid():
            self._require(request, command, text, obj, shown=version)
            has_ended = obj is not None and obj.ended  # then there is nothing to correct
            return page.shown(FormState(form, key, version), status=409 if has_ended else 422)
        cleaned = form.arguments() if isinstance(form, CommandForm) else form.cleaned_data
        call = Call(
            model=self.model,
            command=command,
            arguments=self.arguments_for(request, command, dict(cleaned)),
            key=key,
            pk=None if text is None else self._key_of(request, command, text, obj),
            lock=lambda pk: self._locked(request, command, pk, version),
        )
        if command.creates:
            self._require(request, command, text, obj)
        try:
            return page.done(run(call, request))
        except Moved:
            return self._again(request, command, text, FormState(form, key, version), 409)
        except NotDone as refused:
            _add_error(form, refused.error)
            state = FormState(form, page.new_key() if refused.spent else key, version)
            return self._again(request, command, text, state, refused.status)

    def _again(
        self, request: HttpRequest, command: Command, text: str | None, state: FormState, status: int
    ) -> HttpResponse:
        """Show the form again, with what was entered, about the object as it is by now."""
        obj = None if text is None else self._visible(request, text)
        self._require(request, command, text, obj, shown=state.version)
        return CommandPage(self, request, command, obj).shown(state, status=status)

    def _require(
        self, request: HttpRequest, command: Command, text: str | None, obj: A | None, *, shown: int | None = None
    ) -> None:
        """Raise unless the command can be run by this user, on an object as it is.

        What has ended since version ``shown`` has a page that says so, for those who might have run the command.
        """
        has_ended = obj is not None and obj.ended
        if text is not None and (obj is None or (has_ended and shown in (None, obj.version))):
            raise Http404
        if not self._may(request, command, obj) or not (has_ended or self._is_offered(request, command, obj)):
            raise PermissionDenied

    def _is_offered(self, request: HttpRequest, command: Command, obj: A | None) -> bool:
        if self._problem(command) is not None:  # offered to nobody, and its page says why
            return True
        return any(each.name == command.name for each in self.get_commands(request, obj))

    # The object

    def _visible(self, request: HttpRequest, text: str) -> A | None:
        found: A | None = self.get_object(request, text) if is_text(text) else None
        return found if found is not None and self.has_view_or_change_permission(request, found) else None

    def _key_of(self, request: HttpRequest, command: Command, text: str, obj: A | None) -> Any:
        """Return the key of a visible object; or of one whose row has gone, which the same form may have removed."""
        if obj is not None:
            return obj.pk
        gone = self.model.remove_row_at_end and is_text(text)
        if not gone or callable(self.command_permission(command)):  # there is nothing left that could be decided about
            raise Http404
        try:
            if self.model._base_manager.filter(pk=text).exists():
                raise Http404
            return self.model._meta.pk.to_python(text)
        except (TypeError, ValueError, OverflowError, ValidationError) as error:  # no such key
            raise Http404 from error

    def _locked(self, request: HttpRequest, command: Command, pk: Any, version: int) -> A:
        """Lock the object, as far as the user may act on it: decided about the state that is locked."""
        visible: QuerySet[A] = self.get_queryset(request).using(conf.DATABASE).filter(pk=pk)
        rows, rewritten = locking(visible)
        found = next(iter(rows), None)
        if found is not None and rewritten and not visible.exists():  # it has gone while the lock was waited for
            found = None
        if found is not None and not self.has_view_or_change_permission(request, found):
            found = None
        self._require(request, command, str(pk), found, shown=version)
        if found is None:
            raise Http404
        if found.version != version:
            raise Moved
        return found

    def _named(self, title: str) -> dict[str, str]:
        return {"command": title, "model": str(self.opts.verbose_name)}


def _add_error(form: forms.Form, error: ValidationError) -> None:
    """Add what was refused to the fields that it names, and to the form as a whole."""
    named = error.error_dict if hasattr(error, "error_dict") else {None: error.error_list}
    for name, errors in named.items():
        form.add_error(name if name in form.fields else None, errors)
