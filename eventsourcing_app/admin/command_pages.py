"""The page of one command: its form, what it says when nothing was done, and where it leads when something was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.helpers import AdminForm
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import quote
from django.core.exceptions import BadRequest
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from eventsourcing_app.access.events import position_from
from eventsourcing_app.access.visibility import narrowed_positions
from eventsourcing_app.admin.audited import fields_told_by, shown_fields
from eventsourcing_app.admin.docstrings import paragraphs_of
from eventsourcing_app.admin.links import Links, linked
from eventsourcing_app.admin.meanwhile import facts_of, meanwhile
from eventsourcing_app.admin.pages import Crumb, page
from eventsourcing_app.identifiers import uuid7

if TYPE_CHECKING:
    from django import forms
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

    from eventsourcing_app.admin.command_runs import Done
    from eventsourcing_app.admin.commands import CommandsMixin
    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.model import EventSourcedModel
    from eventsourcing_app.aggregates.receipts import Receipt

KEY: Final = "_es_key"
"""The name of the form's own key, in its address and among what it sends."""
VERSION: Final = "_es_version"
"""The name of the version that was shown."""


@dataclass(frozen=True, slots=True)
class FormState:
    """A form, with what it is sent with besides."""

    form: forms.Form
    key: str
    version: int
    """The version that the user has seen."""


class CommandPage:
    """Answers a request about a command, on an object as it is by now."""

    def __init__(
        self, model_admin: CommandsMixin[Any], request: HttpRequest, command: Command, obj: EventSourcedModel | None
    ) -> None:
        self._admin, self._request, self._command, self._obj = model_admin, request, command, obj
        self._links = Links(model_admin.admin_site, request)

    # What was sent

    def new_key(self) -> str:
        """Return a key that no form has had."""
        return str(uuid7())

    def asked_key(self) -> str | None:
        """Return the key in the address, if there is one. Raises ``BadRequest``."""
        key = self._request.GET.get(KEY)
        return None if key is None else _key(key)

    def sent_key(self) -> str:
        """Return the key that the form was sent with. Raises ``BadRequest``."""
        return _key(self._request.POST.get(KEY, ""))

    def sent_version(self) -> int:
        """Return the version that had been shown. Raises ``BadRequest``."""
        version = position_from(self._request.POST.get(VERSION, ""))
        if version is None:
            raise BadRequest(f"'{VERSION}' must be the version that the form was shown for.")
        return version

    # Answers

    def begun(self) -> HttpResponse:
        """Lead to a form with a key of its own in its address: whoever goes back comes to the same form."""
        filters = self._request.GET.get("_changelist_filters")
        query = {KEY: self.new_key(), **({} if filters is None else {"_changelist_filters": filters})}
        return HttpResponseRedirect(f"{self._request.path}?{urlencode(query)}")

    def explained(self, problem: str) -> HttpResponse:
        """Say why there is no form."""
        return self._page({"problem": problem})

    def shown(self, state: FormState, *, status: int = 200) -> HttpResponse:
        """Show the form, and what has happened since, if the object is no longer at the version that was shown.

        The form of an object that has ended only keeps what was entered, and the version that it was entered for.
        """
        obj = self._obj
        form: Any = state.form  # the admin's templates show any form
        moved = obj is not None and obj.version != state.version
        has_ended = obj is not None and obj.ended
        adminform = AdminForm(form, [(None, {"fields": list(form.fields)})], {}, model_admin=self._admin)
        context = {
            "form": form,
            "adminform": adminform,
            "errors": [*_errors(form.non_field_errors())],
            "error_count": len(form.errors),
            # Of the form, templates would read an argument of that name.
            "is_multipart": form.is_multipart(),
            "has_fields": bool(form.fields),
            "has_ended": has_ended,
            "key_name": KEY,
            "key": state.key,
            "version_name": VERSION,
            "version": state.version if obj is None or has_ended else obj.version,
            "facts": [] if obj is None or moved else facts_of(obj, self._fields(obj)),
            "media": self._admin.media + form.media,
        }
        if obj is not None and moved:
            told, user = fields_told_by(self._admin, self._request, type(obj), obj), self._request.user
            since = min(state.version, obj.version)
            context |= {
                "shown_version": state.version,
                "meanwhile": meanwhile(obj, since, user, self._links, told=told, shown=self._fields(obj)),
            }
        return self._page(context, status=status)

    def done(self, outcome: Done) -> HttpResponse:
        """Tell what was done, on the page of the object, or on the list if it has none any more."""
        self._tell(outcome)
        receipt = outcome.receipt
        pk = None if receipt is None else receipt.pk
        if receipt is None and self._obj is not None:
            pk = self._obj.pk
        rows = self._admin.get_queryset(self._request)
        exists = pk is not None and rows.filter(pk=pk).exists()
        return HttpResponseRedirect(self._change_url(pk) if exists else self._url("changelist"))

    # Parts

    def _page(self, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        obj, title = self._obj, self._admin.command_title(self._command)
        back = self._url("changelist") if obj is None else self._change_url(obj.pk)
        described = [_(paragraph) for paragraph in paragraphs_of(self._command.function)]
        whole = {
            "command": self._command,
            "command_title": title,
            "description": described,
            "original": obj,
            "back_url": back,
            **context,
        }
        return page(
            self._request,
            self._admin,
            self._admin.command_form_template,
            whole,
            title=title if obj is None else f"{title}: {obj}",
            crumbs=() if obj is None else (Crumb(back, str(obj)),),
            status=status,
        )

    def _tell(self, outcome: Done) -> None:
        command, receipt = self._admin.command_title(self._command), outcome.receipt
        if not outcome.followed:
            text = _("%(command)s: it is done and stored, but what followed has failed. Do not send it again.")
            messages.warning(self._request, text % {"command": command})
        elif receipt is None or not receipt.count:
            messages.info(self._request, _("%(command)s: there was nothing to do.") % {"command": command})
        elif receipt.replayed:
            text = _("{command}: this form was sent before. It was done then, as {event}; nothing was done again.")
            messages.warning(self._request, format_html(text, command=command, event=self._event_of(receipt)))
        else:
            text = _("{command}: done, as {event}.")
            messages.success(self._request, format_html(text, command=command, event=self._event_of(receipt)))

    def _event_of(self, receipt: Receipt) -> SafeString | str:
        name = _("version %(version)d (event %(position)d)") % {
            "version": receipt.version,
            "position": receipt.position,
        }
        visible = narrowed_positions(self._request.user, {receipt.position})
        return linked(name, self._links.event_url(receipt.position) if visible else None)

    def _fields(self, obj: EventSourcedModel) -> list[str]:
        """Return the fields that the page of the object shows."""
        return shown_fields(self._admin, self._request, obj)

    def _change_url(self, pk: Any) -> str:
        return self._url("change", quote(pk))

    def _url(self, name: str, *arguments: str) -> str:
        options = self._admin.opts
        url = reverse(
            f"admin:{options.app_label}_{options.model_name}_{name}",
            args=arguments,
            current_app=self._admin.admin_site.name,
        )
        filters = self._admin.get_preserved_filters(self._request)
        with_filters: str = add_preserved_filters({"preserved_filters": filters, "opts": options}, url)
        return with_filters


def _key(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError as error:
        raise BadRequest(f"'{KEY}' must be the key of a form.") from error


def _errors(errors: Any) -> list[dict[str, str]]:
    """Return errors with their codes, which stay the same whatever the language."""
    return [
        {"text": " ".join(error.messages), "code": error.code or ""} for error in errors.as_data() if error is not None
    ]
