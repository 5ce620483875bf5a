"""Covers live_listing.py, listing.py, offers.py and changeset.py: a listing's life beside its versions.

Covers marketplace.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from storescp_cfn.marketplace import changeset, live_listing
from storescp_cfn.marketplace.bundle import Bundle
from storescp_cfn.marketplace.catalog import Clients
from storescp_cfn.marketplace.errors import BadInputError, MarketplaceError
from storescp_cfn.marketplace.listing import ENTRIES, read_listing
from tests.testkit import marketplace_stub as stub
from tests.testkit.release_checkout import Run, command, listing_text

ID_OF_1_2_0 = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
def vendor(aws: stub.Aws, pristine: Path) -> Run:
    """The vendor's command line, before the Catalog of the stub."""
    aws.versions = ["1.1.0", "1.2.0"]
    return command(pristine, aws.environment())


def will_succeed(aws: stub.Aws) -> None:
    """The next two change sets succeed at once."""
    aws.outcomes = [(["SUCCEEDED"], [], ""), (["SUCCEEDED"], [], "")]


def started(aws: stub.Aws) -> list[tuple[str, list[str]]]:
    return [
        (each.request["Intent"], [change["ChangeType"] for change in each.request["ChangeSet"]])
        for each in aws.change_sets
    ]


# --- The first listing ----------------------------------------------------------------------------------------

FIRST = [
    *("CreateProduct", "UpdateInformation", "AddDimensions", "UpdateTargeting", "AddRepositories", "ReleaseProduct"),
    *("CreateOffer", "UpdateInformation", "UpdatePricingTerms", "UpdateLegalTerms", "UpdateSupportTerms"),
    "ReleaseOffer",
]


def test_a_first_listing_is_one_change_set_validated_before_it_is_applied(vendor: Run, aws: stub.Aws) -> None:
    will_succeed(aws)
    done = vendor("listing", "create", "--repository", "storescp", "--apply", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert started(aws) == [("VALIDATE", FIRST), ("APPLY", FIRST)]
    assert f"The product is {stub.PRODUCT}: set it as PRODUCT_ID." in done.stdout
    changes = {change["ChangeType"]: change for change in aws.change_sets[1].request["ChangeSet"][:6]}
    assert changes["UpdateInformation"]["DetailsDocument"]["LogoUrl"].endswith("/logo.png")
    assert changes["UpdateTargeting"]["DetailsDocument"]["PositiveTargeting"]["BuyerAccounts"] == ["111122223333"]


def test_validating_a_first_listing_makes_nothing(vendor: Run, aws: stub.Aws) -> None:
    will_succeed(aws)
    done = vendor("listing", "create", "--repository", "storescp")
    assert done.returncode == 0 and "first listing: would be accepted" in done.stdout
    assert started(aws) == [("VALIDATE", FIRST)]


def test_what_the_catalog_refuses_is_said_and_nothing_is_applied(vendor: Run, aws: stub.Aws) -> None:
    aws.will_end("FAILED", errors=(("INVALID_ECR_REPOSITORY_NAME", "No such form"),))
    refused = vendor("listing", "create", "--repository", "storescp", "--apply", "--yes")
    assert (
        refused.returncode == 1 and "INVALID_ECR_REPOSITORY_NAME: a repository name is not lower case" in refused.stderr
    )
    assert [intent for intent, _ in started(aws)] == ["VALIDATE"]


@pytest.mark.parametrize(
    ("pricing", "model", "term"),
    [
        ("free", "Free", "UsageBasedPricingTerm"),
        ("byol", "Byol", "ByolPricingTerm"),
        ("hourly", "Usage", "UsageBasedPricingTerm"),
        ("monthly", "Usage", "RecurringPaymentTerm"),
    ],
)
def test_each_pricing_has_its_terms(pricing: str, model: str, term: str) -> None:
    listing = read_listing(listing_text(pricing=pricing, price_usd="0.25"))
    changes = changeset.create_listing(listing, ["storescp"])["ChangeSet"]
    (terms,) = (change["DetailsDocument"] for change in changes if change["ChangeType"] == "UpdatePricingTerms")
    assert terms["PricingModel"] == model
    assert [each["Type"] for each in terms["Terms"]] == [term]
    assert listing.paid is (pricing in ("hourly", "monthly"))


def test_an_own_licence_agreement_is_named_by_its_address() -> None:
    listing = read_listing(listing_text(licence_agreement="https://acme.s3.us-east-1.amazonaws.com/eula.pdf"))
    changes = changeset.create_listing(listing, ["storescp"])["ChangeSet"]
    (terms,) = (change["DetailsDocument"] for change in changes if change["ChangeType"] == "UpdateLegalTerms")
    assert terms["Terms"][0]["Documents"][0]["Type"] == "CustomEula"


# --- listing.toml ---------------------------------------------------------------------------------------------

BAD_LISTINGS = {
    "no TOML": ("= x", "listing.toml cannot be read: "),
    "an entry that is not known": (listing_text() + "\n[more]\nx = 1\n", "has more.x, which is not known; known are "),
    "no logo": (listing_text(logo=""), "product.logo is empty; it has to be an https:// address of a public PNG"),
    "a logo without https": (listing_text(logo="http://a/b.png"), "product.logo is 'http://a/b.png'; it has to be"),
    "no support address": (listing_text(address=""), "support.address is empty; it has to be an e-mail or https://"),
    "an unknown pricing": (
        listing_text(pricing="gratis"),
        "offer.pricing is 'gratis'; it has to be one of free, byol,",
    ),
    "paid without a price": (listing_text(pricing="hourly"), "offer.price_usd is empty, but offer.pricing is hourly"),
    "a price with a sign": (listing_text(price_usd="$1"), "offer.price_usd is '$1'; it has to be US dollars as text"),
    "an account of eleven digits": (
        listing_text().replace('["111122223333"]', '["11112222333"]'),
        "offer.buyer_accounts is \"['11112222333']\"; it has to be account numbers of 12 digits",
    ),
    "a number for a title": (listing_text().replace('title = "DICOM', 'title = 7 # "DICOM'), "product.title is '7'"),
    "highlights that are none": (
        re.sub(r"highlights = \[.*?\n\]", "highlights = []", listing_text(), flags=re.DOTALL),
        "product.highlights is empty; it has to be one to three sentences",
    ),
    "a link without an address": (listing_text().replace('url = ""', 'address = ""'), "product.links is "),
}


@pytest.mark.parametrize(("text", "sentence"), BAD_LISTINGS.values(), ids=BAD_LISTINGS.keys())
def test_a_listing_that_cannot_be_used_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadInputError) as refused:
        read_listing(text)
    assert sentence in str(refused.value) and "\n" not in str(refused.value).strip()


def test_every_entry_is_in_the_committed_file() -> None:
    listing = read_listing(listing_text())
    assert {entry.path for entry in ENTRIES} == set(listing.entries)
    assert listing["product.links"] == [], "a link without an address is not shown"


# --- A listing that lives -------------------------------------------------------------------------------------


def test_a_version_is_restricted_by_its_delivery_options(vendor: Run, aws: stub.Aws) -> None:
    will_succeed(aws)
    done = vendor("listing", "restrict", "1.2.0", "--product-id", stub.PRODUCT, "--apply", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    (change,) = aws.change_sets[1].request["ChangeSet"]
    assert change["ChangeType"] == "RestrictDeliveryOptions"
    assert [bool(ID_OF_1_2_0.fullmatch(one)) for one in change["DetailsDocument"]["DeliveryOptionIds"]] == [True]


def test_a_version_that_is_not_out_is_named_with_those_that_are(vendor: Run, aws: stub.Aws) -> None:
    refused = vendor("listing", "restrict", "9.9.9", "--product-id", stub.PRODUCT)
    assert refused.returncode == 1
    assert f"Product {stub.PRODUCT} has no version 9.9.9; it has 1.1.0, 1.2.0." in refused.stderr
    assert aws.change_sets == []


def test_notes_and_instructions_of_a_version_can_be_changed_and_nothing_else(
    vendor: Run, aws: stub.Aws, release: Bundle
) -> None:
    will_succeed(aws)
    place = ("--product-id", stub.PRODUCT, "--apply", "--yes")
    done = vendor("listing", "update-version", str(release.folder), *place)
    assert (done.returncode, done.stderr) == (0, "")
    (change,) = aws.change_sets[1].request["ChangeSet"]
    assert change["ChangeType"] == "UpdateDeliveryOptions"
    assert change["DetailsDocument"]["Version"] == {"ReleaseNotes": release.read("release-notes.md").decode().strip()}


def test_public_is_asked_for_alone(vendor: Run, aws: stub.Aws) -> None:
    will_succeed(aws)
    assert vendor("listing", "publish", "--product-id", stub.PRODUCT, "--apply", "--yes").returncode == 0
    (change,) = aws.change_sets[1].request["ChangeSet"]
    assert (change["ChangeType"], change["DetailsDocument"]) == ("UpdateVisibility", {"TargetVisibility": "Public"})


def test_status_shows_the_versions_and_where_the_page_differs(vendor: Run, aws: stub.Aws) -> None:
    listing = read_listing(listing_text())
    wanted = listing.information()
    promotion = {"LogoUrl": wanted["LogoUrl"], "AdditionalResources": []}
    described = {name: value for name, value in wanted.items() if name in live_listing._DESCRIPTION}
    aws.product = {
        "Description": {"Visibility": "Public", **described},
        "PromotionalResources": promotion,
        "SupportInformation": {"Description": wanted["SupportDescription"]},
    }
    same = vendor("listing", "status", "--product-id", stub.PRODUCT)
    assert (same.returncode, same.stderr) == (0, "")
    assert same.stdout.splitlines() == [
        f"{stub.PRODUCT} is Public.",
        "  1.1.0  2026-12-01  on sale",
        "  1.2.0  2026-12-01  on sale",
        "The product page says what listing.toml says.",
    ]
    aws.product["Description"]["ProductTitle"] = "An older title"
    differs = vendor("listing", "status", "--product-id", stub.PRODUCT)
    assert differs.returncode == 1
    assert "ProductTitle on the listing is 'An older title', but 'DICOM Store SCP" in differs.stdout


def test_an_interrupted_change_is_taken_up(clients: Clients, aws: stub.Aws) -> None:
    change = live_listing.Change("restriction of 1.2.0", changeset.show_to_everybody(stub.PRODUCT))
    lines: list[str] = []

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    def ask(sleep: Callable[[float], None]) -> str:
        return live_listing.carry_out(
            clients.catalog, change, apply=False, confirm=print, report=lines.append, sleep=sleep
        )

    with pytest.raises(KeyboardInterrupt):
        ask(interrupt)
    assert ask(lambda _: None) == "changeset1"
    assert len(aws.change_sets) == 1
    assert "VALIDATE: change set changeset1 of an earlier run is still open." in lines


def test_a_change_that_breaks_a_limit_asks_nobody(clients: Clients, aws: stub.Aws) -> None:
    change = live_listing.Change("nothing", changeset.restrict_version([], stub.PRODUCT))
    with pytest.raises(MarketplaceError, match="DeliveryOptionIds has 0 items; the least is 1"):
        live_listing.carry_out(clients.catalog, change, apply=True, confirm=print, report=print)
    assert aws.change_sets == []
