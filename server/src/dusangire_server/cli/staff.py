"""dusangire staff"""

from typing import Annotated

import typer

from dusangire.access import OPERATOR
from dusangire.core import Core
from dusangire.people import staff
from dusangire.people.staff import Invited, Person
from dusangire.permissions import Role
from dusangire_server.cli.output import AsJson, put_json, put_table, say
from dusangire_server.cli.session import run

app = typer.Typer()

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Whose account it is.")]
_ROLE = "VIEWER looks, OPERATOR works, APPROVER decides on refunds, ADMIN does everything."


@app.command()
def create(
    email: Annotated[str, typer.Option(help="The person signs in with it.")],
    role: Annotated[Role, typer.Option(help=_ROLE, case_sensitive=False)],
    name: Annotated[str | None, typer.Option(help="As others see it.")] = None,
    as_json: AsJson = False,
) -> None:
    """An account, and a link that signs its owner in once, within 15 minutes."""

    async def work(core: Core, _url: str) -> Invited:
        return await staff.create(core, OPERATOR, email=email, role=role, name=name)

    _put_link(run(work), as_json=as_json)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Everybody with an account."""

    async def work(_core: Core, _url: str) -> list[Person]:
        return await staff.people(OPERATOR)

    found = run(work)
    if as_json:
        put_json(found)
        return
    put_table(
        ("e-mail", "name", "role", "code generator", "last seen", "disabled"),
        [
            (p.email, p.name, p.role, p.has_code_generator, p.last_seen_at, p.disabled_at)
            for p in found
        ],
    )


@app.command()
def link(
    email: Email,
    reset_password: Annotated[
        bool, typer.Option("--reset-password", help="Its use forgets the password.")
    ] = False,
    reset_totp: Annotated[
        bool, typer.Option("--reset-totp", help="Its use forgets the code generator.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Another link, for who lost the first one, the password or the phone. Earlier links end."""

    async def work(core: Core, _url: str) -> Invited:
        person = await staff.find(OPERATOR, email)
        return await staff.new_link(
            core, OPERATOR, person.id, reset_password=reset_password, reset_totp=reset_totp
        )

    _put_link(run(work), as_json=as_json)


@app.command()
def role(
    email: Email,
    role: Annotated[Role, typer.Argument(metavar="ROLE", help=_ROLE, case_sensitive=False)],
    as_json: AsJson = False,
) -> None:
    """Change what somebody may do. It counts at once, also where they are signed in."""

    async def work(_core: Core, _url: str) -> Person:
        return await staff.change_role(OPERATOR, (await staff.find(OPERATOR, email)).id, role)

    person = run(work)
    _put(person, f"{person.email} is {person.role} now.", as_json=as_json)


@app.command()
def disable(email: Email, as_json: AsJson = False) -> None:
    """End an account. Its owner is signed out everywhere within five seconds."""

    async def work(_core: Core, _url: str) -> Person:
        return await staff.disable(OPERATOR, (await staff.find(OPERATOR, email)).id)

    person = run(work)
    _put(person, f"{person.email} is disabled.", as_json=as_json)


@app.command()
def enable(email: Email, as_json: AsJson = False) -> None:
    """Let a disabled person sign in again, with the password they had."""

    async def work(_core: Core, _url: str) -> Person:
        return await staff.enable(OPERATOR, (await staff.find(OPERATOR, email)).id)

    person = run(work)
    _put(person, f"{person.email} can sign in again.", as_json=as_json)


def _put(person: Person, words: str, *, as_json: bool) -> None:
    if as_json:
        put_json(person)
    else:
        say(words)


def _put_link(invited: Invited, *, as_json: bool) -> None:
    person = invited.person
    if as_json:
        put_json({"email": person.email, "role": person.role, "loginUrl": invited.login_url})
        return
    say(f"{person.email} is {person.role}. This link signs them in once, within 15 minutes:")
    typer.echo(invited.login_url)
