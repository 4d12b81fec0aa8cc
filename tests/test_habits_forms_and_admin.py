"""Forms validate and show; what they would write without an event is refused with the commands to run instead."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import connection
from django.forms import inlineformset_factory, modelform_factory, modelformset_factory
from django.test import Client
from django.urls import path
from rest_framework import serializers

from eventsourcing_app.admin import EventSourcedAdmin
from eventsourcing_app.checks.admin import check_admin
from eventsourcing_app.exceptions import DirectWriteRefused, NothingRecorded, UnrecordedChange
from tests.samples.factories import add, drifts, open_wallet, values_of, versions
from tests.samples.habits import Fleet, Seat, Ship, Specimen
from tests.samples.models import Contract, Customer, Wallet

if TYPE_CHECKING:
    from collections.abc import Iterator


class PlainAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # cannot be subscripted at run time
    """As a user would write it who does not know better."""

    list_display = ("owner", "note")
    list_editable = ("note",)
    list_display_links = ("owner",)


class ContractInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Contract
    extra = 1


class CustomerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    inlines = (ContractInline,)


class ShutInline(ContractInline):
    def has_add_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission


site = admin.AdminSite()
site.register(Wallet, PlainAdmin)
site.register(Customer, CustomerAdmin)
site.register(Ship, EventSourcedAdmin)
site.register(Fleet, EventSourcedAdmin)
urlpatterns = [path("admin/", site.urls)]
WALLETS = "/admin/samples/wallet/"

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture(autouse=True)
def no_row_drifts(db: None) -> Iterator[None]:
    """Whatever a test tried, rows and histories agree at its end."""
    yield
    if not connection.needs_rollback:
        assert drifts() == []


def filled(form: forms.BaseForm, **changes: Any) -> dict[str, Any]:
    """What a browser would send."""
    return {name: form[name].value() for name in form.fields if form[name].value() is not None} | changes


# full_clean


def specimen() -> Specimen:
    opened = Specimen.objects.perform_new(Specimen.measure)
    return Specimen.objects.get(pk=opened.pk)


def test_full_clean_changes_nothing_that_would_need_an_event() -> None:
    wallet = open_wallet("Ada", 5)
    wallet.note = "x"
    for instance in (wallet, Wallet.objects.get(), Wallet.objects.only("owner").get()):
        instance.full_clean(exclude=["labels", "note"])
        add(instance)
        assert (instance.owner, instance.balance) == ("Ada", Decimal(6))
    held = specimen()
    before = values_of(held)
    held.full_clean()
    assert values_of(held) == before
    held.measure_again()
    held.save()
    assert versions(held) == [1, 2]


def test_full_clean_of_a_new_instance_makes_no_change_of_a_default() -> None:
    new = Specimen()
    new.full_clean()
    assert isinstance(new.width, Decimal)
    new.measure()
    new.save()
    assert Specimen.objects.get().version == 1


def test_validators_run_in_full_clean_and_not_in_a_save() -> None:
    held = specimen()
    held.measure_again(name="bad")
    with pytest.raises(ValidationError, match="Not that"):
        held.full_clean()
    held.save()
    assert Specimen.objects.get().name == "bad"


# Model forms


def test_a_model_form_shows_and_validates() -> None:
    form_class = modelform_factory(Wallet, fields=["owner", "balance"])
    wallet = open_wallet("Ada", 5)
    assert 'value="Ada"' in str(form_class(instance=wallet))
    assert form_class({"owner": "x" * 41, "balance": "1"}, instance=wallet).errors == {
        "owner": ["Ensure this value has at most 40 characters (it has 41)."]
    }


@pytest.mark.parametrize("exists", [True, False])
def test_a_model_form_that_would_write_names_the_commands(exists: bool) -> None:
    instance = open_wallet("Ada", 5) if exists else None
    form = modelform_factory(Wallet, fields=["owner", "balance"])({"owner": "Eve", "balance": "7"}, instance=instance)
    assert form.is_valid()
    with pytest.raises(UnrecordedChange, match=r"owner, balance changed .*Wallet has open\(\), add\(\), take\(\)"):
        form.save()
    held = form.save(commit=False)
    with pytest.raises(UnrecordedChange):
        held.add(Decimal(1)) if exists else held.open(owner="Eve")
    assert list(Wallet.objects.values_list("owner", flat=True)) == (["Ada"] if exists else [])


def test_a_model_form_without_a_change_has_nothing_to_save() -> None:
    form = modelform_factory(Wallet, fields=["owner"])({"owner": "Ada"}, instance=open_wallet("Ada"))
    with pytest.raises(NothingRecorded, match=r"open\(\), add\(\)"):
        form.save()


def test_a_model_form_of_columns_without_history_is_saved_by_their_names() -> None:
    wallet = open_wallet("Ada")
    form = modelform_factory(Wallet, fields=["note"])({"note": "vip"}, instance=wallet)
    form.save(commit=False).save(update_fields=list(form.fields))
    assert Wallet.objects.get().note == "vip"
    assert versions(wallet) == [1]


def test_a_refused_command_is_an_error_of_the_form_that_ran_it() -> None:
    class TakeForm(forms.Form):
        amount = forms.DecimalField()

        def clean(self) -> None:
            Wallet.objects.perform(wallet.pk, Wallet.take, **self.cleaned_data)

    wallet = open_wallet("Ada", 5)
    form = TakeForm({"amount": "6"})
    assert form.errors.as_data()["__all__"][0].code == "not_enough"
    assert TakeForm({"amount": "4"}).is_valid()
    assert Wallet.objects.get().balance == 1


def test_formsets_do_not_write() -> None:
    wallet = open_wallet("Ada")
    formset_class = modelformset_factory(Wallet, fields=["owner"], extra=0, can_delete=True)
    management = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(wallet.pk),
        "form-0-owner": "Ada",
    }
    changed = formset_class(management | {"form-0-owner": "Eve"})
    assert changed.is_valid(), changed.errors
    with pytest.raises(UnrecordedChange):
        changed.save()
    deleted = formset_class(management | {"form-0-DELETE": "on"})
    assert deleted.is_valid()
    with pytest.raises(DirectWriteRefused, match="ends=True"):
        deleted.save()


def test_inline_formsets_do_not_write() -> None:
    customer = Customer.objects.create(name="Ada")
    contract = Contract()
    contract.sign(customer_id=customer.pk)
    contract.save()
    formset_class = inlineformset_factory(Customer, Contract, fields=["terms"], extra=1)
    data = {"contracts-TOTAL_FORMS": "1", "contracts-INITIAL_FORMS": "0", "contracts-0-terms": '["x"]'}
    new = formset_class(data, instance=customer)
    assert new.is_valid(), new.errors
    with pytest.raises(UnrecordedChange, match="customer_id, terms"):
        new.save()
    data |= {"contracts-INITIAL_FORMS": "1", "contracts-0-id": str(contract.pk), "contracts-0-DELETE": "on"}
    gone = formset_class(data, instance=customer)
    assert gone.is_valid(), gone.errors
    with pytest.raises(DirectWriteRefused):
        gone.save()


def test_a_serializer_of_the_model_does_not_write() -> None:
    meta = type("Meta", (), {"model": Wallet, "fields": ["owner"]})
    serializer_class: Any = type("Plain", (serializers.ModelSerializer,), {"Meta": meta})
    for instance, error, words in ((None, TypeError, "perform_new"), (open_wallet("Ada"), UnrecordedChange, "owner")):
        serializer = serializer_class(instance, data={"owner": "Eve"})
        assert serializer.is_valid()
        with pytest.raises(error, match=words):
            serializer.save()


# A page with forms


def test_a_page_with_forms_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    shut = admin.AdminSite(name="shut")
    shut.register(Customer, type("ShutAdmin", (CustomerAdmin,), {"inlines": (ShutInline,)}))
    messages = check_admin()
    warned = {str(message.msg).partition(" ")[0] for message in messages if message.id == "eventsourcing_app.W060"}
    assert {"PlainAdmin", "ContractInline"} <= warned
    assert warned.isdisjoint({"EventSourcedAdmin", "ShutInline"})
    assert all("EventSourcedAdmin" in str(message.hint) for message in messages)
    monkeypatch.setattr("django.apps.apps.is_installed", lambda _: False)
    assert check_admin() == []


def test_a_page_with_forms_shows_and_does_not_write(root: Client) -> None:
    wallet = open_wallet("Ada", 5)
    wallet.label(labels=["a"])
    wallet.save()
    change = f"{WALLETS}{wallet.pk}/change/"
    for address in (WALLETS, f"{WALLETS}add/", change, f"{WALLETS}{wallet.pk}/delete/"):
        assert root.get(address).status_code == 200, address
    form = modelform_factory(Wallet, fields=["owner", "balance", "labels", "note"])(instance=wallet)
    sent = filled(form, owner="Eve")
    with pytest.raises(UnrecordedChange, match=r"owner changed .* add\(\)"):
        root.post(change, sent)
    with pytest.raises(UnrecordedChange):
        root.post(f"{WALLETS}add/", sent)
    with pytest.raises(DirectWriteRefused, match="ends=True"):
        root.post(f"{WALLETS}{wallet.pk}/delete/", {"post": "yes"})
    with pytest.raises(DirectWriteRefused, match=r"delete\(\) is refused"):
        root.post(WALLETS, {"action": "delete_selected", "_selected_action": [str(wallet.pk)], "post": "yes"})
    edited = {"form-TOTAL_FORMS": "1", "form-INITIAL_FORMS": "1", "form-0-id": str(wallet.pk), "form-0-note": "x"}
    with pytest.raises(NothingRecorded):
        root.post(WALLETS, edited | {"_save": "Save"})
    assert (Wallet.objects.get().owner, Wallet.objects.get().note) == ("Ada", "")
    assert versions(wallet) == [1, 2, 3]


def test_an_inline_with_forms_does_not_write(root: Client) -> None:
    customer = Customer.objects.create(name="Ada")
    sent = {"name": "Ada", "contracts-TOTAL_FORMS": "1", "contracts-INITIAL_FORMS": "0", "contracts-0-terms": '["x"]'}
    address = f"/admin/samples/customer/{customer.pk}/change/"
    assert root.get(address).status_code == 200
    with pytest.raises(UnrecordedChange):
        root.post(address, sent)
    assert not Contract.objects.exists()


def test_a_proxy_has_pages_and_a_trail_of_its_own(root: Client) -> None:
    receipt = Ship.objects.perform_new(Ship.begin, name="argo")
    Fleet.objects.perform(receipt.pk, Fleet.promote)
    for model in ("ship", "fleet"):
        page = root.get(f"/admin/samples/{model}/{receipt.pk}/change/").content.decode()
        assert "Flagship Argo" in page
        trail = root.get(f"/admin/samples/{model}/{receipt.pk}/history/").content.decode()
        assert trail.count("samples.named") == 2


def test_seats_with_chosen_keys_can_be_validated() -> None:
    form = modelform_factory(Seat, fields=["code", "row", "number"])({"code": "1", "row": "AB", "number": "1"})
    assert set(form.errors) == {"row"}
