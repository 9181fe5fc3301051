"""torchrun's restarts need a store of their own."""

import pytest

from blitznet.core.errors import UsageError
from blitznet.train.distributed import init_distributed


def test_restarts_with_a_shared_store_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "TORCHELASTIC_MAX_RESTARTS": "3",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    message = "--max-restarts 3: expected TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in torchrun's environment"
    with pytest.raises(UsageError, match=message), init_distributed("cpu"):
        pass
