"""What is broken is told once for each reason, and once when it goes well again."""

from sluice_operator.news import News


def test_what_stays_broken_is_no_news_and_another_reason_is():
    news = News()
    assert [news.broke(reason) for reason in ("a", "a", "b", "a")] == [True, False, True, True]


def test_that_it_goes_well_is_news_only_after_it_was_broken():
    news = News()
    assert not news.mended()
    assert news.broke("a")
    assert [news.mended(), news.mended()] == [True, False]
    assert news.broke("a")
