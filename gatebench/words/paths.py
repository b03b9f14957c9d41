"""Where things are: folders of the repository, and the address of servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import gatebench

if TYPE_CHECKING:
    pass


HOST = "127.0.0.1"


ROOT = Path(gatebench.__file__).resolve().parent.parent
CACHE = ROOT / ".gatebench" / "environments"
RESULTS = ROOT / "results"
