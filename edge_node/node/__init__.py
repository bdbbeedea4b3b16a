"""The node: joins the pure core to its edges."""
