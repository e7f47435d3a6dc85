"""What a rented machine may cost, by a table with a date, and what a budget allows."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runjob.launchers.aws_prices import alike, cost_of, over_budget, table
from runjob.schemas.job_hardware import Aws
from tests.cluster.ec2 import aws_settings


def test_the_table_has_a_date_and_a_source() -> None:
    assert datetime.date.fromisoformat(table().date) <= datetime.date(2100, 1, 1)
    assert "aws.amazon.com/ec2/pricing" in table().source
    assert table().rows["g5.12xlarge"].usd == 5.672 and table().rows["g5.12xlarge"].gpus == 4


def test_the_jobs_own_price_counts_before_the_tables() -> None:
    assert cost_of(aws_settings(), "us-east-1").most == pytest.approx(12 * 5.672)
    assert cost_of(aws_settings(price_usd_hour=2, max_hours=3), "eu-west-1").most == 6
    unknown = cost_of(aws_settings(), "eu-west-1")
    assert unknown.most is None and "no price of g5.12xlarge in eu-west-1" in unknown.source


def test_what_earlier_machines_have_cost_counts_against_the_budget() -> None:
    settings = aws_settings(budget_usd=70)
    cost = cost_of(settings, "us-east-1")
    assert over_budget(settings, cost, 0.0) == ""
    said = over_budget(settings, cost, 10.0)
    price = f"12 h of g5.12xlarge at $5.672 (us-east-1, table of {table().date}) are up to $68.06"
    assert said == (
        f"hardware.aws.budget_usd: {price} after $10.00 for earlier machines of this job, and the budget is $70; "
        "--set hardware.aws.max_hours=10.5 keeps it"
    )
    assert "max_hours=" not in over_budget(settings, cost, 69.9)


BASE = aws_settings()


@given(budget=st.floats(0, 1e4), price=st.floats(0.01, 100), hours=st.floats(0.1, 720), spent=st.floats(0, 1e3))
def test_what_the_advice_says_fits_the_budget(budget: float, price: float, hours: float, spent: float) -> None:
    settings = replaced(BASE, budget, price, hours)
    said = over_budget(settings, cost_of(settings, None), spent)
    assert bool(said) == (spent + price * hours > budget)
    if "max_hours=" in said:
        advised = float(said.rpartition("max_hours=")[2].partition(" ")[0])
        fits = replaced(BASE, budget, price, advised)
        assert over_budget(fits, cost_of(fits, None), spent) == ""


def replaced(settings: Aws, budget: float, price: float, hours: float) -> Aws:
    import dataclasses

    return dataclasses.replace(settings, budget_usd=budget, price_usd_hour=price, max_hours=hours)


def test_other_types_have_as_many_gpus() -> None:
    rows = table().rows
    assert alike("g5.xlarge")[0] == "g4dn.xlarge"
    assert all(rows[name].gpus == rows[kind].gpus for kind in rows for name in alike(kind))
    assert alike("no.such") == ()
