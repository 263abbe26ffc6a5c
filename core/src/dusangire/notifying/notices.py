"""What customers and staff are told, in their words: rw, en and fr.

A notice is a text with gaps, and `Facts` is all that can fill them. A line whose gap stays empty is
left out, so that one text serves with and without an invoice attached.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from dusangire.languages import in_language
from dusangire.lifecycle import AttentionReason
from dusangire.masking import mask_text
from dusangire.text import printable

# One value in a text: names and reasons are what somebody typed.
_LONGEST = 300
_SHORTEST_CUT = 150
_GAP = re.compile(r"\{(\w+)\}")


class Notice(StrEnum):
    """Something that people are told."""

    PAYMENT_RECEIVED = "PAYMENT_RECEIVED"
    INVOICE_PAID = "INVOICE_PAID"
    INVOICE_ISSUED = "INVOICE_ISSUED"
    CREDIT_NOTE_ISSUED = "CREDIT_NOTE_ISSUED"
    REFUND_MADE = "REFUND_MADE"

    REFUND_REQUESTED = "REFUND_REQUESTED"
    REFUND_REJECTED = "REFUND_REJECTED"
    REFUND_FAILED = "REFUND_FAILED"
    REFUND_UNKNOWN = "REFUND_UNKNOWN"
    PAYMENT_NEEDS_ATTENTION = "PAYMENT_NEEDS_ATTENTION"
    GATEWAY_DOWN = "GATEWAY_DOWN"
    GATEWAY_UP = "GATEWAY_UP"
    WEBHOOK_DISABLED = "WEBHOOK_DISABLED"
    DISCREPANCIES_FOUND = "DISCREPANCIES_FOUND"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a notice is about. Empty: not known, or not for this one.

    shop: the merchant's name. reference: of the payment. refund: its reference. number: of the
    invoice or credit note. file: the attached document. link: its page. due: the last day to pay.
    who: asked for the refund, or rejected it. reason: why, in their words. cause: what went wrong.
    address: of a webhook. account: of statements. count: of discrepancies.
    returned: money that went back, beside the credit note for it.
    """

    shop: str
    amount: str = ""
    reference: str = ""
    refund: str = ""
    number: str = ""
    file: str = ""
    link: str = ""
    due: str = ""
    who: str = ""
    reason: str = ""
    cause: str = ""
    gateway: str = ""
    address: str = ""
    returned: str = ""
    account: str = ""
    count: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One notice in one language. lines: the text; one whose gap stays empty is left out."""

    subject: str
    lines: tuple[str, ...]
    short: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A notice, filled in. subject: one line."""

    subject: str
    text: str
    short: str


def write(notice: Notice, facts: Facts, locale: str) -> Written:
    """The notice in a language. Nothing in it can break a header, and no number is in clear."""
    words = WORDS[notice][locale if locale in WORDS[notice] else "en"]
    values = {name: _safe(name, value) for name, value in asdict(facts).items()}
    lines = [line for line in words.lines if all(values[gap] for gap in _GAP.findall(line))]
    return Written(
        subject=_fill(words.subject, values),
        text=_paragraphs(_fill(line, values) for line in lines),
        short=_cut(_fill(words.short, values), _SHORTEST_CUT),
    )


def attention_reasons(reasons: tuple[AttentionReason, ...], locale: str) -> str:
    """Why somebody has to look at a payment."""
    return "; ".join(in_language(ATTENTION[reason], locale) for reason in reasons)


def shop_name(name: str | None, locale: str) -> str:
    """The merchant's name, or a word for a shop that has not given one."""
    return name or in_language({"rw": "Iduka", "en": "The shop", "fr": "La boutique"}, locale)


def gaps(words: Words) -> frozenset[str]:
    """What a text needs to know."""
    return frozenset(_GAP.findall("\n".join((words.subject, *words.lines, words.short))))


def _fill(text: str, values: Mapping[str, str]) -> str:
    # Not str.format: what somebody typed is never read as a pattern.
    return _GAP.sub(lambda match: values[match.group(1)], text)


def _safe(name: str, value: str) -> str:
    one_line = " ".join(printable(value).split())
    # A link is our own, and what looks like a number in its signature is none.
    return one_line if name == "link" else _cut(mask_text(one_line), _LONGEST)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _paragraphs(lines: Iterable[str]) -> str:
    """The lines, without two empty ones in a row."""
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


# A native reader of Kinyarwanda has not read these yet.
WORDS: Mapping[Notice, Mapping[str, Words]] = {
    Notice.PAYMENT_RECEIVED: {
        "rw": Words(
            subject="Ubwishyu bwakiriwe: {amount}",
            lines=(
                "Muraho,",
                "",
                "Ubwishyu bwawe bwa {amount} bwakiriwe na {shop}.",
                "Nomero y'ubwishyu: {reference}",
                "",
                "Murakoze.",
            ),
            short="{shop}: ubwishyu bwawe bwa {amount} bwakiriwe. {reference}",
        ),
        "en": Words(
            subject="Payment received: {amount}",
            lines=(
                "Hello,",
                "",
                "{shop} has received your payment of {amount}.",
                "Payment: {reference}",
                "",
                "Thank you.",
            ),
            short="{shop}: your payment of {amount} was received. {reference}",
        ),
        "fr": Words(
            subject="Paiement reçu : {amount}",
            lines=(
                "Bonjour,",
                "",
                "{shop} a bien reçu votre paiement de {amount}.",
                "Paiement : {reference}",
                "",
                "Merci.",
            ),
            short="{shop} : votre paiement de {amount} est bien reçu. {reference}",
        ),
    },
    Notice.INVOICE_PAID: {
        "rw": Words(
            subject="Ubwishyu bwakiriwe, fagitire {number}",
            lines=(
                "Muraho,",
                "",
                "Ubwishyu bwawe bwa {amount} bwakiriwe na {shop}.",
                "Nomero y'ubwishyu: {reference}",
                "Fagitire: {number}",
                "Iri ku mugereka: {file}",
                "Yirebe hano: {link}",
                "",
                "Murakoze.",
            ),
            short="{shop}: ubwishyu bwawe bwa {amount} bwakiriwe. Fagitire {number}",
        ),
        "en": Words(
            subject="Payment received, invoice {number}",
            lines=(
                "Hello,",
                "",
                "{shop} has received your payment of {amount}.",
                "Payment: {reference}",
                "Invoice: {number}",
                "It is attached: {file}",
                "See it here: {link}",
                "",
                "Thank you.",
            ),
            short="{shop}: your payment of {amount} was received. Invoice {number}",
        ),
        "fr": Words(
            subject="Paiement reçu, facture {number}",
            lines=(
                "Bonjour,",
                "",
                "{shop} a bien reçu votre paiement de {amount}.",
                "Paiement : {reference}",
                "Facture : {number}",
                "Elle est jointe : {file}",
                "À voir ici : {link}",
                "",
                "Merci.",
            ),
            short="{shop} : votre paiement de {amount} est bien reçu. Facture {number}",
        ),
    },
    Notice.INVOICE_ISSUED: {
        "rw": Words(
            subject="Fagitire {number}: {amount}",
            lines=(
                "Muraho,",
                "",
                "Urasabwa kwishyura {amount} kuri {shop}.",
                "Fagitire: {number}",
                "Itariki ntarengwa yo kwishyura: {due}",
                "Iri ku mugereka: {file}",
                "Yirebe hano: {link}",
                "",
                "Murakoze.",
            ),
            short="{shop}: urasabwa kwishyura {amount}. Fagitire {number}",
        ),
        "en": Words(
            subject="Invoice {number}: {amount}",
            lines=(
                "Hello,",
                "",
                "{shop} asks you to pay {amount}.",
                "Invoice: {number}",
                "Please pay by: {due}",
                "It is attached: {file}",
                "See it here: {link}",
                "",
                "Thank you.",
            ),
            short="{shop} asks you to pay {amount}. Invoice {number}",
        ),
        "fr": Words(
            subject="Facture {number} : {amount}",
            lines=(
                "Bonjour,",
                "",
                "{shop} vous demande de payer {amount}.",
                "Facture : {number}",
                "À payer au plus tard le : {due}",
                "Elle est jointe : {file}",
                "À voir ici : {link}",
                "",
                "Merci.",
            ),
            short="{shop} vous demande de payer {amount}. Facture {number}",
        ),
    },
    Notice.CREDIT_NOTE_ISSUED: {
        "rw": Words(
            subject="Inyandiko yo kugabanya umwenda {number}: {amount}",
            lines=(
                "Muraho,",
                "",
                "Wasubijwe amafaranga {returned} na {shop}.",
                "Inyandiko yo kugabanya umwenda: {number} ({amount})",
                "Iri ku mugereka: {file}",
                "Yirebe hano: {link}",
                "",
                "Murakoze.",
            ),
            short="{shop}: inyandiko yo kugabanya umwenda {number}, {amount}",
        ),
        "en": Words(
            subject="Credit note {number}: {amount}",
            lines=(
                "Hello,",
                "",
                "{shop} has sent {returned} back to you.",
                "Credit note: {number} ({amount})",
                "It is attached: {file}",
                "See it here: {link}",
                "",
                "Thank you.",
            ),
            short="{shop}: credit note {number} for {amount}",
        ),
        "fr": Words(
            subject="Note de crédit {number} : {amount}",
            lines=(
                "Bonjour,",
                "",
                "{shop} vous a remboursé {returned}.",
                "Note de crédit : {number} ({amount})",
                "Elle est jointe : {file}",
                "À voir ici : {link}",
                "",
                "Merci.",
            ),
            short="{shop} : note de crédit {number} de {amount}",
        ),
    },
    Notice.REFUND_MADE: {
        "rw": Words(
            subject="Wasubijwe amafaranga: {amount}",
            lines=(
                "Muraho,",
                "",
                "Wasubijwe amafaranga {amount} na {shop}.",
                "Nomero y'ubwishyu: {reference}",
                "Igihe agerera kuri konti yawe giterwa n'uburyo wishyuyemo.",
                "",
                "Murakoze.",
            ),
            short="{shop}: wasubijwe amafaranga {amount}. {reference}",
        ),
        "en": Words(
            subject="Money back: {amount}",
            lines=(
                "Hello,",
                "",
                "{shop} has sent {amount} back to you.",
                "Payment: {reference}",
                "When it reaches your account depends on how you paid.",
                "",
                "Thank you.",
            ),
            short="{shop} has sent {amount} back to you. {reference}",
        ),
        "fr": Words(
            subject="Remboursement : {amount}",
            lines=(
                "Bonjour,",
                "",
                "{shop} vous a remboursé {amount}.",
                "Paiement : {reference}",
                "Le délai pour recevoir l'argent dépend de votre mode de paiement.",
                "",
                "Merci.",
            ),
            short="{shop} vous a remboursé {amount}. {reference}",
        ),
    },
    Notice.REFUND_REQUESTED: {
        "rw": Words(
            subject="Hategerejwe icyemezo cyo gusubiza amafaranga: {amount}",
            lines=(
                "{who} arasaba ko hasubizwa {amount}.",
                "Nomero y'ubwishyu: {reference}",
                "Nomero y'ubusabe: {refund}",
                "Impamvu: {reason}",
                "",
                "Undi muntu ubifitiye uburenganzira agomba kubyemeza cyangwa kubyanga.",
            ),
            short="Hategerejwe icyemezo: gusubiza {amount}, {refund}",
        ),
        "en": Words(
            subject="Refund to decide: {amount}",
            lines=(
                "{who} asks for a refund of {amount}.",
                "Payment: {reference}",
                "Refund: {refund}",
                "Reason: {reason}",
                "",
                "Another person who may approve refunds has to approve or reject it.",
            ),
            short="Refund to decide: {amount}, {refund}",
        ),
        "fr": Words(
            subject="Remboursement à décider : {amount}",
            lines=(
                "{who} demande un remboursement de {amount}.",
                "Paiement : {reference}",
                "Remboursement : {refund}",
                "Motif : {reason}",
                "",
                "Une autre personne habilitée doit l'approuver ou le refuser.",
            ),
            short="Remboursement à décider : {amount}, {refund}",
        ),
    },
    Notice.REFUND_REJECTED: {
        "rw": Words(
            subject="Ubusabe bwo gusubiza amafaranga bwanzwe: {amount}",
            lines=(
                "Ubusabe bwawe bwo gusubiza {amount} bwanzwe na {who}.",
                "Nomero y'ubwishyu: {reference}",
                "Nomero y'ubusabe: {refund}",
            ),
            short="Ubusabe {refund} bwo gusubiza {amount} bwanzwe.",
        ),
        "en": Words(
            subject="Refund rejected: {amount}",
            lines=(
                "Your request to refund {amount} was rejected by {who}.",
                "Payment: {reference}",
                "Refund: {refund}",
            ),
            short="The refund {refund} of {amount} was rejected.",
        ),
        "fr": Words(
            subject="Remboursement refusé : {amount}",
            lines=(
                "Votre demande de remboursement de {amount} a été refusée par {who}.",
                "Paiement : {reference}",
                "Remboursement : {refund}",
            ),
            short="Le remboursement {refund} de {amount} a été refusé.",
        ),
    },
    Notice.REFUND_FAILED: {
        "rw": Words(
            subject="Gusubiza amafaranga ntibyakunze: {amount}",
            lines=(
                "Gusubiza {amount} ntibyakunze. Amafaranga ntiyavuye kuri konti.",
                "Nomero y'ubwishyu: {reference}",
                "Nomero y'ubusabe: {refund}",
                "Impamvu: {cause}",
                "",
                "Hagomba umuntu uhitamo ikizakurikiraho.",
            ),
            short="Gusubiza {amount} ntibyakunze, {refund}",
        ),
        "en": Words(
            subject="Refund failed: {amount}",
            lines=(
                "The refund of {amount} failed. The money was not sent.",
                "Payment: {reference}",
                "Refund: {refund}",
                "Cause: {cause}",
                "",
                "A person has to decide what to do now.",
            ),
            short="The refund {refund} of {amount} failed.",
        ),
        "fr": Words(
            subject="Remboursement échoué : {amount}",
            lines=(
                "Le remboursement de {amount} a échoué. L'argent n'a pas été envoyé.",
                "Paiement : {reference}",
                "Remboursement : {refund}",
                "Cause : {cause}",
                "",
                "Une personne doit décider de la suite.",
            ),
            short="Le remboursement {refund} de {amount} a échoué.",
        ),
    },
    Notice.REFUND_UNKNOWN: {
        "rw": Words(
            subject="Ntibizwi niba amafaranga yasubijwe: {amount}",
            lines=(
                "Ntibizwi niba {amount} yasubijwe umukiriya.",
                "Nomero y'ubwishyu: {reference}",
                "Nomero y'ubusabe: {refund}",
                "",
                (
                    "Nta mashini izongera kuyohereza. Reba kuri konti y'uburyo bwo kwishyura, "
                    "hanyuma wandike uko byagenze."
                ),
            ),
            short="Ntibizwi niba {amount} yasubijwe, {refund}",
        ),
        "en": Words(
            subject="Nobody knows whether a refund was paid: {amount}",
            lines=(
                "The gateway did not say whether the refund of {amount} was paid.",
                "Payment: {reference}",
                "Refund: {refund}",
                "",
                (
                    "No machine sends it again. Look at your account at the gateway, then write "
                    "down what happened."
                ),
            ),
            short="Nobody knows whether the refund {refund} of {amount} was paid.",
        ),
        "fr": Words(
            subject="Remboursement incertain : {amount}",
            lines=(
                "Le prestataire n'a pas dit si le remboursement de {amount} a été payé.",
                "Paiement : {reference}",
                "Remboursement : {refund}",
                "",
                (
                    "Aucune machine ne le renvoie. Vérifiez votre compte chez le prestataire, puis "
                    "notez ce qui s'est passé."
                ),
            ),
            short="On ne sait pas si le remboursement {refund} de {amount} a été payé.",
        ),
    },
    Notice.PAYMENT_NEEDS_ATTENTION: {
        "rw": Words(
            subject="Ubwishyu bukeneye kurebwa: {reference}",
            lines=(
                "Hagomba umuntu ureba ubwishyu {reference} bwa {amount}.",
                "Impamvu: {cause}",
            ),
            short="Ubwishyu {reference} bwa {amount} bukeneye kurebwa.",
        ),
        "en": Words(
            subject="A payment needs a look: {reference}",
            lines=(
                "Somebody has to look at the payment {reference} of {amount}.",
                "Why: {cause}",
            ),
            short="The payment {reference} of {amount} needs a look.",
        ),
        "fr": Words(
            subject="Un paiement est à vérifier : {reference}",
            lines=(
                "Quelqu'un doit vérifier le paiement {reference} de {amount}.",
                "Pourquoi : {cause}",
            ),
            short="Le paiement {reference} de {amount} est à vérifier.",
        ),
    },
    Notice.GATEWAY_DOWN: {
        "rw": Words(
            subject="{gateway} ntikora ubu",
            lines=(
                "Kwishyura ukoresheje {gateway} ntibikora ubu.",
                "Ikosa riheruka: {cause}",
                "Ubundi buryo bwo kwishyura burakomeje.",
            ),
            short="Kwishyura ukoresheje {gateway} ntibikora ubu.",
        ),
        "en": Words(
            subject="{gateway} is down",
            lines=(
                "Payments with {gateway} do not work now.",
                "Last error: {cause}",
                "Other payment methods go on.",
            ),
            short="Payments with {gateway} do not work now.",
        ),
        "fr": Words(
            subject="{gateway} est en panne",
            lines=(
                "Les paiements avec {gateway} ne fonctionnent pas en ce moment.",
                "Dernière erreur : {cause}",
                "Les autres modes de paiement continuent.",
            ),
            short="Les paiements avec {gateway} ne fonctionnent pas en ce moment.",
        ),
    },
    Notice.GATEWAY_UP: {
        "rw": Words(
            subject="{gateway} yongeye gukora",
            lines=("Kwishyura ukoresheje {gateway} byongeye gukora.",),
            short="Kwishyura ukoresheje {gateway} byongeye gukora.",
        ),
        "en": Words(
            subject="{gateway} works again",
            lines=("Payments with {gateway} work again.",),
            short="Payments with {gateway} work again.",
        ),
        "fr": Words(
            subject="{gateway} fonctionne de nouveau",
            lines=("Les paiements avec {gateway} fonctionnent de nouveau.",),
            short="Les paiements avec {gateway} fonctionnent de nouveau.",
        ),
    },
    Notice.WEBHOOK_DISABLED: {
        "rw": Words(
            subject="Webhook yahagaritswe: {address}",
            lines=(
                "Nta butumwa bucyoherezwa kuri {address}.",
                "Impamvu: {cause}",
                "",
                "Banza ukosore ikibazo, hanyuma wongere uyifungure.",
            ),
            short="Webhook yahagaritswe: {address}",
        ),
        "en": Words(
            subject="Webhook switched off: {address}",
            lines=(
                "Nothing is sent to {address} any more.",
                "Cause: {cause}",
                "",
                "Correct what is wrong there, then switch the endpoint on again.",
            ),
            short="Webhook switched off: {address}",
        ),
        "fr": Words(
            subject="Webhook désactivé : {address}",
            lines=(
                "Plus rien n'est envoyé à {address}.",
                "Cause : {cause}",
                "",
                "Corrigez le problème, puis réactivez l'adresse.",
            ),
            short="Webhook désactivé : {address}",
        ),
    },
    Notice.DISCREPANCIES_FOUND: {
        "rw": Words(
            subject="{account}: ibintu {count} bidahuye",
            lines=(
                "Igenzura rya {account} ryabonye ibintu {count} bikomeye bidahuye n'ubwishyu.",
                "Ibyo ari byo: {cause}",
                "",
                "Hagomba umuntu ubireba uyu munsi.",
            ),
            short="{account}: ibintu {count} bikomeye bidahuye n'ubwishyu.",
        ),
        "en": Words(
            subject="{account}: {count} grave discrepancies",
            lines=(
                "A run over {account} found {count} grave discrepancies with the payments.",
                "Kinds: {cause}",
                "",
                "Somebody has to look at the list of discrepancies today.",
            ),
            short="{account}: {count} grave discrepancies",
        ),
        "fr": Words(
            subject="{account} : {count} écarts graves",
            lines=(
                "Un rapprochement de {account} a trouvé {count} écarts graves avec les paiements.",
                "Sortes : {cause}",
                "",
                "Quelqu'un doit regarder la liste des écarts aujourd'hui.",
            ),
            short="{account} : {count} écarts graves",
        ),
    },
}

ATTENTION: Mapping[AttentionReason, Mapping[str, str]] = {
    AttentionReason.OUTCOME_UNKNOWN: {
        "rw": "ntibizwi niba umukiriya yishyuye",
        "en": "nobody knows whether the customer paid",
        "fr": "on ne sait pas si le client a payé",
    },
    AttentionReason.LATE_SUCCESS: {
        "rw": "amafaranga yageze nyuma y'igihe",
        "en": "the money arrived after the payment had ended",
        "fr": "l'argent est arrivé après la fin du paiement",
    },
    AttentionReason.AMOUNT_MISMATCH: {
        "rw": "amafaranga yageze si yo yasabwe",
        "en": "the amount is not the one that was asked for",
        "fr": "le montant n'est pas celui demandé",
    },
    AttentionReason.DUPLICATE_CAPTURE: {
        "rw": "umukiriya yishyuye kabiri",
        "en": "the customer paid twice",
        "fr": "le client a payé deux fois",
    },
    AttentionReason.REVERSED_BY_GATEWAY: {
        "rw": "amafaranga yasubijwe inyuma n'uburyo bwo kwishyura",
        "en": "the gateway took the money back",
        "fr": "le prestataire a repris l'argent",
    },
    AttentionReason.REFUND_UNKNOWN: {
        "rw": "ntibizwi niba amafaranga yasubijwe",
        "en": "nobody knows whether a refund was paid",
        "fr": "on ne sait pas si un remboursement a été payé",
    },
    AttentionReason.UNMAPPED_STATUS: {
        "rw": "uburyo bwo kwishyura bwakoresheje ijambo tutazi",
        "en": "the gateway used a word that we do not know",
        "fr": "le prestataire a utilisé un mot inconnu",
    },
}
