"""`python -m edge_node` is the command `edge-node`."""

from __future__ import annotations

import sys

from edge_node.cli.main import main

sys.exit(main())
