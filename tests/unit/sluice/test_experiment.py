import pytest

from sluice.errors import InvalidSetting
from sluice.experiment import Arm, Experiment, parse

MODELS = ["shop.home", "shop.home-als"]
HALVES = parse("als@2026-11-21: home=50, home-als=50", MODELS)


def test_a_setting_names_the_models_and_their_shares():
    assert parse(" als @ 2026-11-21T12:00Z : shop.home=30 , home-als=70", MODELS) == Experiment(
        name="als", since=1_795_262_400.0, arms=(Arm("shop.home", 30), Arm("shop.home-als", 70))
    )
    assert parse("  ", MODELS) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("home=50,home-als=50", "no name"),
        ("@2026-11-21: home=50, home-als=50", "no name"),
        ("a/b@2026-11-21: home=50, home-als=50", "no name"),
        ("als@2026-11-21: home=50, home-als=40", "90 percent"),
        ("als@2026-11-21: home=100", "from 1 to 99"),
        ("als@2026-11-21: home=50", "at least two"),
        ("als@2026-11-21: home=50, home=50", "each once"),
        ("als@2026-11-21: home=0, home-als=99", "from 1 to 99"),
        ("als@2026-11-21: home=fifty, home-als=50", "from 1 to 99"),
        ("als@2026-11-21: home=²0, home-als=50", "from 1 to 99"),
        (f"als@2026-11-21: home={'1' * 5_000}, home-als=50", "from 1 to 99"),
        ("als@2026-11-21: home=50, away=50", "'away'"),
        ("als@2026-11-21: ", "at least two"),
        ("als: home=50, home-als=50", "no name"),
        ("als@soon: home=50, home-als=50", "'soon'"),
    ],
)
def test_an_unusable_setting_is_refused_with_the_fix(text, said):
    with pytest.raises(InvalidSetting, match=said):
        parse(text, MODELS)


def test_a_name_that_two_namespaces_have_must_be_written_in_full():
    with pytest.raises(InvalidSetting, match="'home'"):
        parse("a@2026-11-21: home=50, b.home-als=50", ["a.home", "b.home", "b.home-als"])


def test_a_subject_stays_with_its_model_and_the_shares_hold():
    subjects = [f"user-{number}" for number in range(20_000)]
    dealt = [HALVES.model_for(subject) for subject in subjects]
    assert dealt == [HALVES.model_for(subject) for subject in subjects]
    assert abs(dealt.count("shop.home") / len(dealt) - 0.5) < 0.02
    few = parse("als@2026-11-21: home=5, home-als=95", MODELS)
    assert abs(sum(few.model_for(each) == "shop.home" for each in subjects) / len(subjects) - 0.05) < 0.01


def test_another_experiment_deals_everybody_anew():
    other = parse("again@2026-11-21: home=50, home-als=50", MODELS)
    same = sum(HALVES.model_for(str(number)) == other.model_for(str(number)) for number in range(10_000))
    assert abs(same / 10_000 - 0.5) < 0.03


def test_a_larger_share_keeps_those_it_had():
    grown = parse("als@2026-11-21: home=60, home-als=40", MODELS)
    for number in range(5_000):
        if HALVES.model_for(str(number)) == "shop.home":
            assert grown.model_for(str(number)) == "shop.home"
