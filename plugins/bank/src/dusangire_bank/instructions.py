"""What the payer reads, in the languages of Rwanda: short sentences, one thing to do in each."""

from dusangire.gateway import TransferToAccount
from dusangire.money import Money
from dusangire_bank.reference import printed

_SENTENCES = {
    "rw": (
        "Ohereza {amount} kuri konti {account_number} ya {account_name} muri {bank_name}. "
        "Ahandikwa impamvu yo kwishyura, andika iyi nimero uko iri: {reference}. "
        "Ni yo idufasha kumenya ko ari wowe wishyuye. "
        "Ohereza ayo mafaranga yose icyarimwe."
    ),
    "en": (
        "Transfer {amount} to account {account_number} of {account_name} at {bank_name}. "
        "As the reason for the payment, write exactly this reference: {reference}. "
        "We recognise your payment by it. "
        "Send the whole amount in one transfer."
    ),
    "fr": (
        "Virez {amount} sur le compte {account_number} de {account_name}, banque {bank_name}. "
        "Comme motif du virement, écrivez exactement cette référence : {reference}. "
        "C'est elle qui nous permet de reconnaître votre paiement. "
        "Envoyez la totalité en un seul virement."
    ),
}
_FROM_ABROAD = {
    "rw": " Niba wohereza uri mu mahanga, koresha kode ya SWIFT {swift_code}.",
    "en": " From abroad, use the SWIFT code {swift_code}.",
    "fr": " Depuis l'étranger, utilisez le code SWIFT {swift_code}.",
}


def instructions(transfer: TransferToAccount) -> dict[str, str]:
    """By language: rw, en, fr."""
    return {language: _in(language, transfer) for language in _SENTENCES}


def _in(language: str, transfer: TransferToAccount) -> str:
    sentences = _SENTENCES[language]
    if transfer.swift_code is not None:
        sentences += _FROM_ABROAD[language]
    return sentences.format(
        amount=_in_french(transfer.amount) if language == "fr" else transfer.amount,
        account_number=transfer.account_number,
        account_name=transfer.account_name,
        bank_name=transfer.bank_name,
        reference=printed(transfer.reference),
        swift_code=transfer.swift_code,
    )


def _in_french(money: Money) -> str:
    # A comma begins the decimals in French: 15,000 RWF would be fifteen francs.
    return str(money).replace(",", "\N{NO-BREAK SPACE}").replace(".", ",")
