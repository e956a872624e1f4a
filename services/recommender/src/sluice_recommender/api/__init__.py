"""The public API: asks, answers, and what stands behind them."""
