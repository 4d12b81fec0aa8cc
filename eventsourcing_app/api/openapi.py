"""The OpenAPI schema, by drf-spectacular (the extra ``api``): what views say of themselves, written down.

Name it once, and its views get a whole schema; all others get what drf-spectacular finds::

    REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "eventsourcing_app.api.ApiSchema"}

Format: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1.html) or 3.0.3, as ``SPECTACULAR_SETTINGS`` say.
"""

from __future__ import annotations

from copy import copy
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from rest_framework.schemas.generators import get_pk_name
from rest_framework.settings import api_settings

try:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.plumbing import ResolvedComponent, force_instance, get_doc
except ImportError as missing:
    raise ImproperlyConfigured(
        "eventsourcing_app.api.ApiSchema needs drf-spectacular: pip install 'django-eventsourcing-app[api]'."
    ) from missing

from eventsourcing_app.api import openapi_parts as parts
from eventsourcing_app.api.aggregates import EventSourcedViewSet
from eventsourcing_app.api.answers import ProblemSerializer
from eventsourcing_app.api.commands import CommandSerializer, StrictSerializer
from eventsourcing_app.api.described import (
    CORRELATION,
    HEADERS_OF_PROBLEMS,
    PROBLEMS,
    REQUEST_HEADERS,
    Described,
    DescribedView,
)
from eventsourcing_app.api.flows import FlowViewSet
from eventsourcing_app.api.openapi_examples import example_of, problem_of
from eventsourcing_app.api.openapi_fields import (
    arguments_schema,
    event_page_schema,
    rate_schema,
    spoken,
    stored_event_schema,
)
from eventsourcing_app.api.operators import RateSerializer
from eventsourcing_app.api.problems import MEDIA_TYPE
from eventsourcing_app.api.serializers import EventPageSerializer, NamedEventSerializer, StoredEventSerializer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model

    from eventsourcing_app.aggregates.declare import Command
    from eventsourcing_app.aggregates.flow import Flow
    from eventsourcing_app.api.described import Operation

    _Schema = dict[str, Any]


class ApiSchema(AutoSchema):
    """A ``DEFAULT_SCHEMA_CLASS``: reads ``operation()``, ``parameters_of()`` and the serializers of our viewsets."""

    view: Any

    @property
    def _ours(self) -> bool:
        # What a project has said with @extend_schema is the last word.
        return isinstance(self.view, DescribedView)

    @property
    def _operation(self) -> Operation:
        described: Operation = self.view.operation()
        return described

    @property
    def _action(self) -> str:
        return getattr(self.view, "action", None) or self.method.lower()

    # Names

    def get_operation_id(self) -> str:
        if self._ours and self.view.basename:
            name: str = self.view.operation_name(self._action)
            return name.replace("-", "_")
        return str(super().get_operation_id())

    def get_summary(self) -> str | None:
        if not self._ours:
            return super().get_summary()
        if said := self._operation.summary:
            return said
        if (command := self._command()) is not None:
            return command.name.rpartition(".")[2].replace("_", " ").capitalize()
        model, action = self._model(), self._action
        if action in ("list", "retrieve") and model is not None:
            options = model._meta
            named = options.verbose_name_plural if action == "list" else options.verbose_name
            return f"{'List' if action == 'list' else 'Show'} {named}"
        return action.replace("_", " ").capitalize()

    def get_description(self) -> str:  # type: ignore[override]  # as in AutoSchema
        if not self._ours:
            return str(super().get_description())
        # The docstring of a view class speaks to programmers.
        command = self._command() if isinstance(self.view, FlowViewSet) else None
        said = get_doc(getattr(self.view, self._action, None)) if command is None else _first(command)
        return said.replace("``", "`") or ("In pages." if self._operation.is_paged else "")

    def get_auth(self) -> list[_Schema]:
        schemes: list[_Schema] = super().get_auth()
        # Whoever needs no permission needs no name either.
        return schemes if not self._ours or self.view.get_permissions() else [*schemes, {}]

    # Parameters

    def _is_list_view(self, serializer: Any = None) -> bool:
        return self._operation.is_paged if self._ours else bool(super()._is_list_view(serializer))

    def _get_paginator(self) -> Any:
        if not self._ours or self.view.paginator is None:
            return super()._get_paginator()
        paginator = copy(self.view.paginator)  # which may depend on the action
        written = paginator.get_paginated_response_schema
        paginator.get_paginated_response_schema = lambda schema: spoken(written(schema))
        return paginator

    def _resolve_path_parameters(self, variables: Any) -> list[_Schema]:
        parameters: list[_Schema] = super()._resolve_path_parameters(variables)
        model = self._model() if self._ours else None
        for parameter in parameters if model is not None else ():
            name = parameter["name"]
            if name in (self._key_name(), self.view.lookup_field):
                parameter["schema"] = self._key_schema(model, self.view.lookup_field)
        return parameters

    def _key_schema(self, model: Any, lookup_field: str) -> _Schema:
        try:
            field = model._meta.pk if lookup_field == "pk" else model._meta.get_field(lookup_field)
        except FieldDoesNotExist:
            return {"type": "string"}
        schema = self._map_model_field(field, direction=None)
        unsaid = ("readOnly", "nullable", "title", "description", "default")
        return {name: value for name, value in schema.items() if name not in unsaid}

    def _get_parameters(self) -> list[_Schema]:
        parameters: list[_Schema] = super()._get_parameters()
        if not self._ours:
            return parameters
        known = {(each["name"], each["in"]) for each in parameters}
        headers = [parts.parameter(name, "header", REQUEST_HEADERS[name]) for name in self._operation.headers]
        said = [*self._query_parameters(), *headers]
        return [*parameters, *(each for each in said if (each["name"], each["in"]) not in known)]

    def _query_parameters(self) -> Iterable[_Schema]:
        known = self.view.described_parameters(self._action)
        for name in sorted(self.view.parameters_of(self._action)):
            described = known.get(name) or Described(description="")
            yield parts.parameter(name, "query", described, repeatable=name in self.view.repeatable_parameters)

    def get_filter_backends(self) -> list[Any]:
        backends: list[Any] = super().get_filter_backends()
        return [] if self._ours and self._action != "list" else backends

    # Bodies

    def get_request_serializer(self) -> Any:
        body = self._operation.body if self._ours else None
        return super().get_request_serializer() if body is None else body

    def get_response_serializers(self) -> Any:
        if not self._ours:
            return super().get_response_serializers()
        operation = self._operation
        return {operation.status: operation.answer}

    def _get_request_body(self, direction: Any = "request") -> Any:
        body = super()._get_request_body(direction)
        command = self._command_serializer()
        if command is None:
            if body is not None and self._ours and (shown := self._operation.example) is not None:
                body["content"]["application/json"].setdefault("examples", parts.examples({self._action: shown}))
            return body
        if body is None:  # it has no arguments, so that its component was dropped
            nothing: _Schema = {"type": "object", "additionalProperties": False}
            return {"content": {"application/json": {"schema": nothing, "examples": parts.examples({"empty": {}})}}}
        body["required"] = any(field.required for field in command.fields.values())
        shown = getattr(self.view, "examples", {})
        example = shown.get(command.declaration.name) or example_of(command)
        for content in body["content"].values():
            content.setdefault("examples", parts.examples({command.declaration.name: example}))
        return body

    def _map_serializer(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> Any:
        schema = super()._map_serializer(serializer, direction, bypass_extensions)
        instance = force_instance(serializer)
        if "description" in schema:
            schema["description"] = schema["description"].replace("``", "`")
        if isinstance(instance, StrictSerializer):
            schema = {**schema, "additionalProperties": False}
        if isinstance(instance, CommandSerializer):
            return arguments_schema(schema, instance)
        if isinstance(instance, RateSerializer):
            return rate_schema(schema)
        if isinstance(instance, StoredEventSerializer):
            schema = stored_event_schema(schema)
        if isinstance(instance, EventPageSerializer):
            named = self.resolve_serializer(NamedEventSerializer, direction)
            schema = event_page_schema(schema, named.ref)
        return schema

    def _get_response_bodies(self, direction: Any = "response") -> _Schema:
        bodies: _Schema = super()._get_response_bodies(direction)
        if not self._ours or direction != "response":
            return bodies
        operation, success = self._operation, bodies.get(str(self._operation.status))
        if success is not None:
            json = success.get("content", {}).get("application/json")
            content = {} if json is None else {"application/json": json}
            if content := content | {name: {"schema": dict(schema)} for name, schema in operation.media.items()}:
                success["content"] = content
            success["description"] = HTTPStatus(operation.status).phrase
            success["headers"] = {**parts.headers(operation.answer_headers), **success.get("headers", {})}
            if links := self._links(operation):
                success["links"] = links
        for status, answer in operation.answers.items():
            bodies[str(status)] = self._answer_or_problem(status, answer)
        for status in sorted(operation.problems):
            bodies.setdefault(str(status), self._problem(status))
        return {status: spoken(body) for status, body in sorted(bodies.items())}

    def _problem(self, status: int) -> _Schema:
        """A reference to what all operations say of a status."""
        name = "".join(HTTPStatus(status).phrase.title().split())
        component = ResolvedComponent(name=name, type=ResolvedComponent.RESPONSE, object=HTTPStatus(status))
        if component not in self.registry:
            component.schema = self._written_problem(status)
            self.registry.register(component)
        reference: _Schema = component.ref
        return reference

    def _written_problem(self, status: int) -> _Schema:
        headers = parts.headers((CORRELATION, *HEADERS_OF_PROBLEMS.get(status, ())))
        written: _Schema = {"description": HTTPStatus(status).phrase, "headers": headers}
        if status >= HTTPStatus.BAD_REQUEST:
            examples = parts.examples({code: problem_of(status, code) for code in PROBLEMS.get(status, {})})
            schema = self.resolve_serializer(ProblemSerializer, "response").ref
            written["content"] = {MEDIA_TYPE: {"schema": schema, "examples": examples}}
        return written

    def _answer_or_problem(self, status: int, answer: Any) -> _Schema:
        written = self._written_problem(status)
        schema = self.resolve_serializer(answer, "response").ref
        written["headers"] |= parts.headers(self._operation.answer_headers)
        written["content"]["application/json"] = {"schema": schema}
        return written

    def _map_response_type_hint(self, method: Any) -> Any:
        return super()._map_response_type_hint(parts.returning(method))

    # Where an answer leads

    def _links(self, operation: Operation) -> _Schema:
        if not operation.links or not self.view.basename:
            return {}
        names = {action: self.view.operation_name(action).replace("-", "_") for action in operation.links}
        parameter = self._key_name()
        return {
            names[action]: {"operationId": names[action], "parameters": {parameter: expression}}
            for action, expression in operation.links.items()
        }

    def _key_name(self) -> str:
        """What the key of an object is called in the addresses of the schema."""
        name: str = self.view.lookup_url_kwarg or self.view.lookup_field
        if name == "pk" and api_settings.SCHEMA_COERCE_PATH_PK and (model := self._model()) is not None:
            return str(get_pk_name(model))
        return name

    def _model(self) -> type[Model] | None:
        return getattr(getattr(self.view, "queryset", None), "model", None)

    def _command(self) -> Command | Flow[..., Any] | None:
        serializer = self._command_serializer()
        return None if serializer is None else serializer.declaration

    def _command_serializer(self) -> CommandSerializer | None:
        if not isinstance(self.view, EventSourcedViewSet | FlowViewSet) or self.method != "POST":
            return None
        serializer = force_instance(self.get_request_serializer())
        return serializer if isinstance(serializer, CommandSerializer) else None


def _first(command: Command | Flow[..., Any]) -> str:
    return " ".join((command.__doc__ or "").partition("\n\n")[0].split())
