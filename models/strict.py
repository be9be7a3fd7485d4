"""The base of every record that goes to disk or comes from a user."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A record that cannot change, and that rejects unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)
