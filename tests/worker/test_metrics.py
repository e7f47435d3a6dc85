"""Perplexity and bits per byte by value, at the edges of a float too."""

import math

import pytest

from runjob.runner.worker.metrics import bits_per_byte, mean_loss, perplexity


def test_perplexity_of_a_uniform_guess_is_the_vocabulary():
    assert perplexity(math.log(4096)) == pytest.approx(4096, rel=1e-12)


def test_perplexity_of_a_diverged_model_is_infinite_and_of_nan_is_nan():
    assert perplexity(800.0) == math.inf
    assert perplexity(math.inf) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_the_mean_is_weighted_by_tokens_not_by_batches():
    batches = [(10.0, 2), (10.0, 8)]
    assert mean_loss(sum(nats for nats, _ in batches), sum(tokens for _, tokens in batches)) == 2.0


def test_bits_per_byte_does_not_depend_on_how_the_text_was_cut_into_tokens():
    # 100 bytes cost 60 nats, whether they were 20 tokens of 3 nats or 60 tokens of 1.
    assert bits_per_byte(20 * 3.0, 100) == bits_per_byte(60 * 1.0, 100) == pytest.approx(0.8656170245333781, rel=1e-15)


def test_nothing_predicted_is_an_error_and_not_zero():
    with pytest.raises(ValueError, match="0 tokens"):
        mean_loss(0.0, 0)
    with pytest.raises(ValueError, match="0 bytes"):
        bits_per_byte(1.0, 0)
