"""The people who work with the system, and showing that one is oneself."""

from datetime import datetime
from typing import cast

import strawberry

from dusangire.people import sessions
from dusangire.people import staff as core
from dusangire_schema import described
from dusangire_schema.context import Info
from dusangire_schema.enums import Role
from dusangire_schema.errors import UserError, answering
from dusangire_schema.inputs import known_id
from dusangire_schema.types import Viewer


@strawberry.type(description="Somebody with an account of their own.")
class StaffMember:
    id: strawberry.ID
    email: str
    name: str
    role: Role
    has_password: bool
    has_code_generator: bool = strawberry.field(
        description="Whether codes of a phone are asked for: APPROVER and ADMIN need them."
    )
    created_at: datetime
    last_seen_at: datetime | None
    disabled_at: datetime | None


@strawberry.type
class StaffPayload:
    staff: StaffMember | None = None
    login_url: str | None = strawberry.field(
        default=None, description="Shown once. It signs the person in once, within 15 minutes."
    )
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def of(cls, person: core.Person, login_url: str | None = None) -> "StaffPayload":
        return cls(staff=cast("StaffMember", person), login_url=login_url)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "StaffPayload":
        return cls(user_errors=errors)


@strawberry.type
class ViewerPayload:
    viewer: Viewer | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)

    @classmethod
    def refused(cls, errors: list[UserError]) -> "ViewerPayload":
        return cls(user_errors=errors)


@strawberry.type
class PeopleQueries:
    @described.field("Everybody with an account, the disabled ones last.")
    async def staff(self, info: Info) -> list[StaffMember]:
        return cast("list[StaffMember]", await core.people(info.context.actor))


@strawberry.type
class PeopleMutations:
    @described.field(
        "Shows that it is you, with your password and, if you have one, the code of your phone: "
        "for five minutes you can do what asks for it. After five wrong tries the session ends."
    )
    @answering(ViewerPayload.refused)
    async def confirm_identity(
        self, info: Info, password: str, code: str | None = None
    ) -> ViewerPayload:
        context = info.context
        at = await sessions.confirm(context.core, context.actor, password, code or "")
        return ViewerPayload(viewer=Viewer.of(context.actor, confirmed_at=at))

    @described.field("An account, and the link with which its owner begins.")
    @answering(StaffPayload.refused)
    async def create_staff(
        self, info: Info, email: str, role: Role, name: str | None = None
    ) -> StaffPayload:
        context = info.context
        invited = await core.create(
            context.core, context.actor, email=email, role=role, name=name
        )  # fmt: skip
        return StaffPayload.of(invited.person, invited.login_url)

    @described.field(
        "Counts at once, also where the person is signed in. Nobody changes their own."
    )
    @answering(StaffPayload.refused)
    async def change_staff_role(self, info: Info, id: strawberry.ID, role: Role) -> StaffPayload:
        context = info.context
        return StaffPayload.of(await core.change_role(context.actor, known_id(id, "id"), role))

    @described.field("Signs the person out everywhere, and lets them in no more.")
    @answering(StaffPayload.refused)
    async def disable_staff(self, info: Info, id: strawberry.ID) -> StaffPayload:
        return StaffPayload.of(await core.disable(info.context.actor, known_id(id, "id")))

    @described.field("Lets a disabled person sign in again, with the password they had.")
    @answering(StaffPayload.refused)
    async def enable_staff(self, info: Info, id: strawberry.ID) -> StaffPayload:
        return StaffPayload.of(await core.enable(info.context.actor, known_id(id, "id")))

    @described.field(
        "For who lost the first link, the password (resetPassword) or the phone "
        "(resetCodeGenerator). Earlier links end. What is reset is so when the link is used."
    )
    @answering(StaffPayload.refused)
    async def new_staff_link(
        self,
        info: Info,
        id: strawberry.ID,
        reset_password: bool = False,
        reset_code_generator: bool = False,
    ) -> StaffPayload:
        context = info.context
        invited = await core.new_link(
            context.core,
            context.actor,
            known_id(id, "id"),
            reset_password=reset_password,
            reset_totp=reset_code_generator,
        )
        return StaffPayload.of(invited.person, invited.login_url)
