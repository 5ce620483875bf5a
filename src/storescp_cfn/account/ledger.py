"""The ledger, as operators' commands read and write it; its layout is docs/adr/0001, its owner the importer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from storescp_cfn.account.connection import Connection
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.errors import AccountError

Item = dict[str, Any]

OPEN_INDEX, UNSETTLED_INDEX = "Open", "Unsettled"
QUARANTINED, UNRECOGNIZED, NON_PRIMARY, WARNED = "QUARANTINED", "UNRECOGNIZED", "NON_PRIMARY", "WARNED"
UNDELIVERED = "UNDELIVERED"
IMPORTED = "IMPORTED"
SETTLED_STATES = frozenset({"SETTLED", "SPLIT"})


class ChangedMeanwhileError(AccountError):
    """Somebody else, or the importer, has changed the item since it was read."""


@dataclass(frozen=True)
class Ledger:
    """One stack's table. Every method raises AccountError: when AWS cannot be asked."""

    connection: Connection
    table: str

    def get(self, pk: str, sk: str) -> Item | None:
        """The item, read consistently."""
        answer = self.connection.call(
            "dynamodb", "get_item", TableName=self.table, Key=_written({"pk": pk, "sk": sk}), ConsistentRead=True
        )
        return _read(answer["Item"]) if answer.get("Item") else None

    def query(self, pk: str, sk_prefix: str = "") -> Iterator[Item]:
        """The items of a partition whose sort key begins so, read consistently, in its order."""
        names, condition = {":p": pk}, "pk = :p"
        if sk_prefix:
            names[":s"], condition = sk_prefix, "pk = :p AND begins_with(sk, :s)"
        return self._rows(
            KeyConditionExpression=condition, ExpressionAttributeValues=_written(names), ConsistentRead=True
        )

    def open_items(self, kind: str) -> list[Item]:
        """What is open of a kind (`QUARANTINED` …), the oldest first; the index may lag by a moment."""
        try:
            return list(
                self._rows(
                    IndexName=OPEN_INDEX,
                    KeyConditionExpression="#o = :k",
                    ExpressionAttributeNames={"#o": "open"},
                    ExpressionAttributeValues=_written({":k": kind}),
                )
            )
        except AccountError as error:
            if _code(error) == "ValidationException":
                raise AccountError(
                    "This stack's version keeps no list of what is open: update the stack (storescp-cfn update)."
                ) from error
            raise

    def unsettled(self) -> list[Item]:
        """Batches that are not settled, the oldest first."""
        return list(
            self._rows(
                IndexName=UNSETTLED_INDEX,
                KeyConditionExpression="unsettled = :u",
                ExpressionAttributeValues=_written({":u": "1"}),
            )
        )

    def _rows(self, **query: Any) -> Iterator[Item]:
        for row in self.connection.pages("dynamodb", "query", "Items", TableName=self.table, **query):
            yield _read(row)

    def put_new(self, item: Item) -> None:
        """Write an item that is not there yet. Raises ChangedMeanwhileError: if it is."""
        self._conditional(
            "put_item", Item=_written(item), ConditionExpression="attribute_not_exists(pk)", TableName=self.table
        )

    def update(self, item: Item, changes: Mapping[str, Any], remove: tuple[str, ...], seen: tuple[str, ...]) -> None:
        """Set `changes` and take `remove` away, if the attributes `seen` still are as in `item`.

        Raises ChangedMeanwhileError: if they are not.
        """
        names = {f"#{name}": name for name in (*changes, *remove, *seen)}
        values = {f":{name}": value for name, value in changes.items()}
        conditions = ["attribute_exists(pk)"]
        for name in seen:
            if name in item:
                values[f":seen_{name}"] = item[name]
                conditions.append(f"#{name} = :seen_{name}")
            else:
                conditions.append(f"attribute_not_exists(#{name})")
        expression = "SET " + ", ".join(f"#{name} = :{name}" for name in changes)
        expression += " REMOVE " + ", ".join(f"#{name}" for name in remove) if remove else ""
        self._conditional(
            "update_item",
            TableName=self.table,
            Key=_written({"pk": item["pk"], "sk": item["sk"]}),
            UpdateExpression=expression,
            ConditionExpression=" AND ".join(conditions),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=_written(values),
        )

    def _conditional(self, operation: str, **arguments: Any) -> None:
        try:
            self.connection.call("dynamodb", operation, **arguments)
        except AccountError as error:
            if _code(error) == "ConditionalCheckFailedException":
                raise ChangedMeanwhileError(
                    "Somebody else has just changed this entry: look at it again, then repeat the command."
                ) from error
            raise


def _code(error: AccountError) -> str:
    response = getattr(error.__cause__, "response", None)
    return str(response["Error"]["Code"]) if response else ""


def of(deployment: Deployment) -> Ledger:
    """The ledger of a stack."""
    return Ledger(deployment.connection, deployment.output("LedgerTableName"))


def _read(row: Mapping[str, Any]) -> Item:
    from boto3.dynamodb.types import TypeDeserializer

    deserializer = TypeDeserializer()
    return {name: _plain(deserializer.deserialize(value)) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    if isinstance(value, list | set):
        return [_plain(each) for each in value]
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, dict) else value


def _written(item: Mapping[str, Any]) -> dict[str, Any]:
    from boto3.dynamodb.types import TypeSerializer

    serializer = TypeSerializer()
    return {name: serializer.serialize(value) for name, value in item.items()}


def count(item: Mapping[str, Any], name: str) -> int:
    """A count of an item; a missing one, of an older version, is 0."""
    value = item.get(name, 0)
    return value if isinstance(value, int) else 0


def text(item: Mapping[str, Any], name: str) -> str:
    """A text of an item; a missing one is empty."""
    value = item.get(name, "")
    return value if isinstance(value, str) else ""
