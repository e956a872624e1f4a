"""The operator: lets each snapshot through to the serving pods, measured, step by step."""
