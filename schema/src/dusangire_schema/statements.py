"""Statements: files that are imported, the accounts they tell of, their lines."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, cast
from uuid import UUID

import strawberry

from dusangire.importing import accounts, imports, integrity, previews, profiles, stored
from dusangire.importing.accounts import StatementAccount as AccountRecord
from dusangire.importing.imports import ImportRequest
from dusangire.importing.imports import StatementImport as ImportRecord
from dusangire.statements import MappingProfile
from dusangire_schema import described
from dusangire_schema.connections import PageInfo, page_info, page_size
from dusangire_schema.context import Info
from dusangire_schema.enums import AccountKind, ImportStatus, LineStatus
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import day, id_of, json_value, known_id
from dusangire_schema.scalars import JSON, CurrencyCode, DayText
from dusangire_schema.types import StatementLine


@strawberry.type(name="ImportWarning")
class Warned:
    code: str
    line: int | None

    @strawberry.field
    def message(self, info: Info) -> str:
        told = cast("integrity.Warned", self).message
        return stored.shown_text(info.context.actor, told)


@strawberry.type(description="A line of a file that could not be read. The others were.")
class RejectedLine:
    line: int

    @strawberry.field
    def message(self, info: Info) -> str:
        told = cast("imports.RejectedLine", self).message
        return stored.shown_text(info.context.actor, told)

    @strawberry.field
    def text(self, info: Info) -> str:
        told = cast("imports.RejectedLine", self).text
        return stored.shown_text(info.context.actor, told)


@strawberry.type
class StatementImport:
    id: strawberry.ID
    status: ImportStatus
    format: str | None
    profile: str | None
    dry_run: bool
    lines_read: int
    lines_new: int
    lines_duplicate: int
    lines_rejected: int
    warnings: list[Warned]
    rejected: list[RejectedLine] = strawberry.field(description="At most a thousand.")
    error: Warned | None = strawberry.field(description="Why nothing of it was kept.")
    progress: float = strawberry.field(description="0 to 1.")
    blocks_posting: bool = strawberry.field(
        description=(
            "Its balances do not agree: no machine matches its lines until a person has looked."
        )
    )
    created_at: datetime
    finished_at: datetime | None

    @described.field("Of a dry run: the first lines as they would be stored.")
    def preview(self, info: Info) -> list[JSON]:
        found = cast("ImportRecord", self).preview
        actor = info.context.actor
        return [JSON(_masked(one, actor)) for one in found]


def _masked(line: Mapping[str, Any], actor: Any) -> dict[str, Any]:
    shown = dict(line)
    for name in ("narration", "raw"):
        if isinstance(shown.get(name), str):
            shown[name] = stored.shown_text(actor, shown[name])
    if "counterparty_account" in shown:
        shown["counterparty_account"] = stored.shown_account(actor, shown["counterparty_account"])
    shown.pop("narration_parts", None)
    return shown


@strawberry.type(description="Where money lies and statements come from.")
class StatementAccount:
    id: strawberry.ID
    code: str
    name: str
    kind: AccountKind
    currency: CurrencyCode
    number: str | None
    profile: str | None = strawberry.field(
        description="How its tables are read when nobody says otherwise."
    )
    closed_until: date | None = strawberry.field(
        description="The last day of the last closed period."
    )
    version: int
    created_at: datetime

    @described.field("How strictly its lines are matched. Amounts are in minor units.")
    def settings(self) -> JSON:
        found = cast("AccountRecord", self).settings
        return JSON(found.model_dump(mode="json"))


@strawberry.type(description="How the columns of a table are read.")
class StatementMapping:
    code: str
    name: str
    verified: bool = strawberry.field(description="Whether it was tried with real files.")

    @strawberry.field
    def mapping(self) -> JSON:
        return JSON(dict(cast("MappingProfile", self).mapping))


@strawberry.type
class StatementLineEdge:
    cursor: str
    node: StatementLine


@strawberry.type
class StatementLineConnection:
    edges: list[StatementLineEdge]
    page_info: PageInfo


@strawberry.input(
    description=(
        "Files arrive by POST /uploads (multipart, field `file`, Bearer or staff session) -> "
        '{"id": …}; the id goes in here.'
    )
)
class ImportStatementInput:
    upload_id: strawberry.ID
    account: str
    format: str | None = None
    profile: str | None = None
    dry_run: bool | None = False


@strawberry.input(description="What is left out of settings stays.")
class SaveStatementAccountInput:
    code: str
    name: str
    kind: AccountKind
    currency: CurrencyCode = CurrencyCode("RWF")
    number: str | None = None
    gateway: str | None = None
    profile: str | None = None
    settings: JSON | None = None


@strawberry.type
class StatementImportPayload:
    import_: StatementImport | None = strawberry.field(default=None, name="import")
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, found: ImportRecord) -> "StatementImportPayload":
        return cls(import_=cast("StatementImport", found))

    @classmethod
    def refused(cls, errors: list[UserError]) -> "StatementImportPayload":
        return cls(user_errors=errors)


@strawberry.type
class StatementAccountPayload:
    account: StatementAccount | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "StatementAccountPayload":
        return cls(user_errors=errors)


@strawberry.type
class StatementProfilePayload:
    profile: StatementMapping | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "StatementProfilePayload":
        return cls(user_errors=errors)


@strawberry.type
class StatementPreviewPayload:
    preview: JSON | None = strawberry.field(
        default=None, description="The first rows, and how their columns would be read."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "StatementPreviewPayload":
        return cls(user_errors=errors)


@strawberry.type
class StatementQueries:
    @strawberry.field
    async def statement_import(self, info: Info, id: strawberry.ID) -> StatementImport | None:
        known = id_of(id) or UUID(int=0)
        return cast("StatementImport | None", await imports.find(info.context.actor, known))

    @described.field("The imports that were asked for last.")
    async def statement_imports(self, info: Info, first: int | None = 25) -> list[StatementImport]:
        found = await imports.newest(info.context.actor, page_size(first, 25))
        return cast("list[StatementImport]", found)

    @described.field("Lines, the newest day first. search: narration, payer, references.")
    async def statement_lines(
        self,
        info: Info,
        account: str | None = None,
        status: list[LineStatus] | None = None,
        first: int | None = 25,
        after: str | None = None,
        from_: Annotated[DayText | None, strawberry.argument(name="from")] = None,
        to: DayText | None = None,
        import_id: strawberry.ID | None = None,
        search: str | None = None,
    ) -> StatementLineConnection:
        wanted = stored.LineFilter(
            account=account,
            status=status,
            from_=day(from_, "from"),
            to=day(to, "to"),
            import_id=known_id(import_id, "importId") if import_id is not None else None,
            search=search,
        )
        context = info.context
        size = page_size(first, 25)
        page = await stored.lines(context.core, context.actor, wanted, size, after)
        return StatementLineConnection(
            edges=[
                StatementLineEdge(cursor=cursor, node=cast("StatementLine", item))
                for item, cursor in zip(page.items, page.cursors, strict=True)
            ],
            page_info=page_info(page, after),
        )

    @strawberry.field
    async def statement_accounts(self, info: Info) -> list[StatementAccount]:
        return cast("list[StatementAccount]", await accounts.accounts(info.context.actor))

    @described.field("An account's own ones stand before shipped ones of the same code.")
    async def statement_profiles(
        self, info: Info, account: str | None = None
    ) -> list[StatementMapping]:
        context = info.context
        found = await profiles.known(context.core, context.actor, account)
        return cast("list[StatementMapping]", found)


@strawberry.type
class StatementMutations:
    @described.field("The same file for the same account is imported once.")
    @answering(StatementImportPayload.refused)
    async def import_statement(
        self, info: Info, input: ImportStatementInput
    ) -> StatementImportPayload:
        request = ImportRequest(
            upload_id=known_id(input.upload_id, "uploadId"),
            account=input.account,
            format=input.format,
            profile=input.profile,
            dry_run=bool(input.dry_run),
        )
        context = info.context
        return StatementImportPayload.of(
            await imports.import_statement(context.core, context.actor, request)
        )

    @described.field("A person looked at the warnings: its lines are matched like all others.")
    @answering(StatementImportPayload.refused)
    async def release_import(
        self, info: Info, id: strawberry.ID, note: str
    ) -> StatementImportPayload:
        context = info.context
        return StatementImportPayload.of(
            await imports.release(context.core, context.actor, known_id(id, "id"), note)
        )

    @strawberry.field
    @answering(StatementAccountPayload.refused)
    async def save_statement_account(
        self, info: Info, input: SaveStatementAccountInput
    ) -> StatementAccountPayload:
        context = info.context
        settings = json_value(input.settings, "settings") if input.settings is not None else None
        saved = await accounts.save(
            context.core,
            context.actor,
            code=input.code,
            name=input.name,
            kind=input.kind,
            currency=input.currency,
            number=input.number,
            gateway=input.gateway,
            profile=input.profile,
            settings=settings,
        )
        return StatementAccountPayload(account=cast("StatementAccount", saved))

    @strawberry.field
    @answering(StatementProfilePayload.refused)
    async def save_statement_profile(
        self, info: Info, account: str, code: str, name: str, mapping: JSON
    ) -> StatementProfilePayload:
        context = info.context
        given = json_value(mapping, "mapping")
        saved = await profiles.save(context.core, context.actor, account, code, name, given)
        return StatementProfilePayload(profile=cast("StatementMapping", saved))

    @described.field("The first rows of a table and how its columns would be read. Stores nothing.")
    @answering(StatementPreviewPayload.refused)
    async def preview_statement(
        self, info: Info, upload_id: strawberry.ID, account: str, profile: str | None = None
    ) -> StatementPreviewPayload:
        context = info.context
        shown = await previews.preview(
            context.core, context.actor, known_id(upload_id, "uploadId"), account, profile
        )
        return StatementPreviewPayload(preview=JSON(shown))
