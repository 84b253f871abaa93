"""The EHR screen: sign-in, patient list, chart, cards, launch of the app, orders, controls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, abort, jsonify, redirect, render_template, request, session

from sandbox.web.accounts import ACCOUNTS, SANDBOX_PASSWORD, Account, sign_in
from sandbox.web.app_reports import read_app_reports
from sandbox.web.cards import card_view
from sandbox.web.cds_client import CdsClient, ViewedChart
from sandbox.web.chart import Chart, read_chart
from sandbox.web.ehr_session import (
    current_account,
    local_path,
    open_session,
    refuse_foreign_form,
    staff_only,
)
from sandbox.web.launching import launch_address
from sandbox.web.orders import CATALOGUE, change_draft, draft_order
from sandbox.web.patient_list import patient_rows
from sandbox.web.switches import ServerState

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from sandbox.web.hospital import Hospital

TABS = {
    "summary": "Summary",
    "results": "Results",
    "imaging": "Imaging",
    "orders": "Orders",
    "reports": "Reports",
}


def register(app: Flask, hospital: Hospital) -> None:
    """Add the EHR screen to the program."""
    ehr = Blueprint("ehr", __name__, url_prefix="/ehr")
    _add_sign_in(ehr)
    _add_pages(ehr, hospital)
    _add_decision_support(ehr, hospital)
    _add_orders(ehr, hospital)
    _add_controls(ehr, hospital)
    app.register_blueprint(ehr)

    @app.get("/")
    def front() -> ResponseReturnValue:
        return redirect("/ehr/patients")


def _add_sign_in(ehr: Blueprint) -> None:
    @ehr.get("/sign-in")
    def sign_in_page() -> ResponseReturnValue:
        next_url = local_path(request.args.get("next"), default="/ehr/patients")
        if current_account() is not None:
            return redirect(next_url)
        return render_template("sign_in.html", next_url=next_url)

    @ehr.post("/sign-in")
    def do_sign_in() -> ResponseReturnValue:
        refuse_foreign_form()
        next_url = local_path(request.form.get("next"), default="/ehr/patients")
        account = sign_in(request.form.get("login", ""), request.form.get("password", ""))
        if account is None:
            return render_template("sign_in.html", next_url=next_url, has_failed=True), 401
        open_session(account)
        return redirect(next_url, 303)

    @ehr.post("/sign-out")
    @staff_only
    def sign_out(*, account: Account) -> ResponseReturnValue:
        session.clear()
        return redirect("/ehr/sign-in", 303)

    @ehr.app_context_processor
    def shared() -> dict[str, object]:
        return {"account_now": current_account(), "logins": ACCOUNTS, "password": SANDBOX_PASSWORD}


def _add_pages(ehr: Blueprint, hospital: Hospital) -> None:
    @ehr.get("/patients")
    @staff_only
    def patients(*, account: Account) -> ResponseReturnValue:
        rows = patient_rows(hospital)
        return render_template("patients.html", rows=rows, account=account)

    @ehr.get("/patients/<patient_id>")
    @staff_only
    def chart(patient_id: str, *, account: Account) -> ResponseReturnValue:
        tab = request.args.get("tab", "summary")
        return render_template(
            "chart.html",
            chart=_chart_or_404(hospital, patient_id),
            account=account,
            tabs=TABS,
            tab=tab if tab in TABS else "summary",
            catalogue=CATALOGUE,
            story=hospital.guide.get(patient_id),
        )

    @ehr.get("/guide")
    @staff_only
    def guide(*, account: Account) -> ResponseReturnValue:
        return render_template("guide.html", guide=hospital.guide, account=account)


def _add_decision_support(ehr: Blueprint, hospital: Hospital) -> None:
    client = CdsClient(hospital)

    @ehr.get("/patients/<patient_id>/cards")
    @staff_only
    def cards(patient_id: str, *, account: Account) -> ResponseReturnValue:
        banner = _chart_or_404(hospital, patient_id).banner
        answer = client.chart_opened(ViewedChart(account, patient_id, banner.encounter_id))
        views = [card_view(card) for card in answer.cards]
        return render_template(
            "_cards.html",
            cards=[view for view in views if view is not None],
            n_refused=sum(view is None for view in views),
            answer=answer,
        )

    @ehr.post("/patients/<patient_id>/launch")
    @staff_only
    def launch(patient_id: str, *, account: Account) -> ResponseReturnValue:
        banner = _chart_or_404(hospital, patient_id).banner
        wanted = request.get_json(silent=True) or {}
        address = launch_address(
            hospital, ViewedChart(account, patient_id, banner.encounter_id), wanted
        )
        return jsonify({"url": address}) if address else abort(400)

    @ehr.get("/patients/<patient_id>/app-reports")
    @staff_only
    def app_reports(patient_id: str, *, account: Account) -> ResponseReturnValue:
        _chart_or_404(hospital, patient_id)
        found = read_app_reports(hospital, account, patient_id)
        return render_template("_app_reports.html", found=found, json_text=_json_text)


def _add_orders(ehr: Blueprint, hospital: Hospital) -> None:
    @ehr.post("/patients/<patient_id>/orders")
    @staff_only
    def add_order(patient_id: str, *, account: Account) -> ResponseReturnValue:
        banner = _chart_or_404(hospital, patient_id).banner
        order = draft_order(
            request.form.get("order", ""), request.form.get("reason", ""), banner, account
        )
        if order is None:
            abort(400)
        hospital.store.create(order)
        return redirect(f"/ehr/patients/{patient_id}?tab=orders", 303)

    @ehr.post("/patients/<patient_id>/orders/<order_id>")
    @staff_only
    def settle_order(patient_id: str, order_id: str, *, account: Account) -> ResponseReturnValue:
        status = "active" if request.form.get("do") == "sign" else "revoked"
        if not change_draft(hospital.store, patient_id, order_id, status):
            abort(404)
        return redirect(f"/ehr/patients/{patient_id}?tab=orders", 303)


def _add_controls(ehr: Blueprint, hospital: Hospital) -> None:
    switches = {"pacs": hospital.pacs_switch, "fhir": hospital.fhir_switch}

    @ehr.get("/controls")
    @staff_only
    def controls(*, account: Account) -> ResponseReturnValue:
        return render_template(
            "controls.html", switches=switches, states=ServerState, account=account
        )

    @ehr.post("/controls")
    @staff_only
    def turn(*, account: Account) -> ResponseReturnValue:
        switch = switches.get(request.form.get("server", ""))
        state = request.form.get("state", "")
        if switch is None or state not in set(ServerState):
            abort(400)
        switch.turn(ServerState(state))
        return redirect("/ehr/controls", 303)


def _chart_or_404(hospital: Hospital, patient_id: str) -> Chart:
    chart = read_chart(hospital.store, patient_id)
    if chart is None:
        abort(404)
    return chart


def _json_text(resource: object) -> str:
    return json.dumps(resource, indent=2, ensure_ascii=False)
