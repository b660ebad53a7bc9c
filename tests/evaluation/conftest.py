from typing import Any

import pytest


@pytest.fixture
def make_summary():
    """A summary as StreamMeasures gives it, from the few numbers a test cares about."""

    def make(accuracy=0.6, prediction_accuracy: float | None = 0.8, request_rate=0.25, mean_return=10.0) -> Any:
        measures = {
            "accuracy": accuracy,
            "prediction_accuracy": prediction_accuracy,
            "request_rate": request_rate,
            "mean_return": mean_return,
        }
        rates = {"request_rate": 0.1, "accuracy": 0.5, "prediction_accuracy": 0.7}
        return {
            **measures,
            "intervals": {name: None if value is None else 0.02 for name, value in measures.items()},
            "by_instance": [{"instance": k, "count": 1200, **rates} for k in range(1, 11)],
            "episodes": 1000,
            "steps": 30000,
            "num_slots": 3,
        }

    return make
