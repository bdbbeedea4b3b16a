"""What every table of settings is made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, WithJsonSchema

from edge_node.settings import checks

Identifier = Annotated[str, AfterValidator(checks.identifier)]
Scalar = Annotated[Any, AfterValidator(checks.scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Text = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Section(BaseModel):
    """One table of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
