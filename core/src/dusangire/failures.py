"""Why money did not move, in words: for the payer in three languages, for staff in one.

A closed vocabulary, as `FailureCode` is: plugins turn each code of their provider's into one of
these, and every shop can show the same few sentences to its payers, whatever they paid with.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dusangire.gateway import FailureCode
from dusangire.languages import in_language


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a failure code says to whom.

    meaning: for the merchant's staff, in English.
    message: what happened, for the payer, by language.
    next_step: what the payer can do now, by language.
    retryable: whether another attempt with the same payer's details makes sense.
    """

    meaning: str
    message: Mapping[str, str]
    next_step: Mapping[str, str]
    retryable: bool = True


def payer_message(code: FailureCode, locale: str = "en") -> str:
    """What happened, for the payer: no blame, no jargon."""
    return in_language(EXPLANATIONS[code].message, locale)


def next_step(code: FailureCode, locale: str = "en") -> str:
    """What the payer can do now."""
    return in_language(EXPLANATIONS[code].next_step, locale)


def retryable(code: FailureCode) -> bool:
    """Whether another attempt with the same payer's details makes sense."""
    return EXPLANATIONS[code].retryable


EXPLANATIONS: Mapping[FailureCode, Explanation] = {
    FailureCode.INSUFFICIENT_FUNDS: Explanation(
        meaning="The payer's wallet, account or card does not hold enough, fees included.",
        message={
            "rw": "Amafaranga ari kuri konti yawe ntahagije.",
            "en": "There is not enough money on your account.",
            "fr": "Le solde de votre compte ne suffit pas.",
        },
        next_step={
            "rw": "Ongera amafaranga kuri konti, cyangwa wishyure mu bundi buryo.",
            "en": "Add money to your account, or pay in another way.",
            "fr": "Rechargez votre compte ou payez d'une autre manière.",
        },
    ),
    FailureCode.DECLINED_BY_PAYER: Explanation(
        meaning="The payer said no to the request.",
        message={
            "rw": "Ubwishyu ntibwemejwe.",
            "en": "The payment was not approved.",
            "fr": "Le paiement n'a pas été approuvé.",
        },
        next_step={
            "rw": "Niba ugishaka kwishyura, ongera ugerageze maze ubyemeze.",
            "en": "If you still want to pay, try again and approve it.",
            "fr": "Si vous souhaitez toujours payer, réessayez et approuvez le paiement.",
        },
    ),
    FailureCode.PAYER_TIMEOUT: Explanation(
        meaning="The payer did not answer the request in time. A late yes may still arrive.",
        message={
            "rw": "Igihe cyo kwemeza ubwishyu cyarangiye.",
            "en": "The time to approve the payment ran out.",
            "fr": "Le délai pour approuver le paiement est écoulé.",
        },
        next_step={
            "rw": "Ongera ugerageze, wemeze ubusabe bukimara kukugeraho.",
            "en": "Try again, and approve the request when it reaches you.",
            "fr": "Réessayez et approuvez la demande dès qu'elle vous parvient.",
        },
    ),
    FailureCode.WRONG_PIN: Explanation(
        meaning="A wrong PIN was entered.",
        message={
            "rw": "Umubare w'ibanga winjijwe si wo.",
            "en": "The PIN was not the right one.",
            "fr": "Le code secret saisi n'est pas le bon.",
        },
        next_step={
            "rw": "Ongera ugerageze. Niba wibagiwe umubare w'ibanga, baza aho ufite konti.",
            "en": "Try again. If you forgot your PIN, ask where you have your account.",
            "fr": "Réessayez. En cas d'oubli du code, contactez votre opérateur ou votre banque.",
        },
    ),
    FailureCode.PAYER_NOT_FOUND: Explanation(
        meaning="There is no wallet, account or card with these details.",
        message={
            "rw": "Nta konti yabonetse ihuye n'ibyo watanze.",
            "en": "No account was found with these details.",
            "fr": "Aucun compte n'a été trouvé avec ces informations.",
        },
        next_step={
            "rw": "Genzura nomero watanze, cyangwa wishyure mu bundi buryo.",
            "en": "Check the number you gave, or pay in another way.",
            "fr": "Vérifiez le numéro indiqué ou payez d'une autre manière.",
        },
        retryable=False,
    ),
    FailureCode.PAYER_LIMIT_REACHED: Explanation(
        meaning="The payer's wallet, account or card has reached a limit of its own.",
        message={
            "rw": "Konti yawe yageze ku mubare ntarengwa w'amafaranga.",
            "en": "Your account has reached its limit.",
            "fr": "Votre compte a atteint son plafond.",
        },
        next_step={
            "rw": "Ongera ugerageze undi munsi, cyangwa wishyure mu bundi buryo.",
            "en": "Try again another day, or pay in another way.",
            "fr": "Réessayez un autre jour ou payez d'une autre manière.",
        },
    ),
    FailureCode.PAYER_BLOCKED: Explanation(
        meaning="The payer's wallet, account or card is blocked or not activated.",
        message={
            "rw": "Iyi konti ntishobora kwishyura muri iki gihe.",
            "en": "This account cannot pay at the moment.",
            "fr": "Ce compte ne peut pas payer pour le moment.",
        },
        next_step={
            "rw": "Baza aho ufite konti, cyangwa wishyure mu bundi buryo.",
            "en": "Ask where you have your account, or pay in another way.",
            "fr": "Contactez votre opérateur ou votre banque, ou payez d'une autre manière.",
        },
        retryable=False,
    ),
    FailureCode.AMOUNT_OUT_OF_LIMITS: Explanation(
        meaning="The amount is below or above what this gateway takes.",
        message={
            "rw": "Ubu buryo bwo kwishyura ntibwakira uyu mubare w'amafaranga.",
            "en": "This way to pay does not take this amount.",
            "fr": "Ce moyen de paiement n'accepte pas ce montant.",
        },
        next_step={
            "rw": "Hitamo ubundi buryo bwo kwishyura.",
            "en": "Please choose another way to pay.",
            "fr": "Choisissez un autre moyen de paiement.",
        },
        retryable=False,
    ),
    FailureCode.CARD_DECLINED: Explanation(
        meaning="The bank that issued the card said no, and gave no reason or a private one.",
        message={
            "rw": "Banki ntiyemeye ubu bwishyu bwakozwe n'ikarita.",
            "en": "The bank did not accept this card payment.",
            "fr": "La banque n'a pas accepté ce paiement par carte.",
        },
        next_step={
            "rw": "Koresha indi karita, cyangwa ubaze banki yawe.",
            "en": "Use another card, or ask your bank.",
            "fr": "Utilisez une autre carte ou contactez votre banque.",
        },
    ),
    FailureCode.AUTHENTICATION_FAILED: Explanation(
        meaning="The payer's bank could not make sure who is paying, by a code for example.",
        message={
            "rw": "Ntibyashobotse kwemeza ko ari wowe wishyura.",
            "en": "It could not be confirmed that it is you who is paying.",
            "fr": "Il n'a pas été possible de confirmer que c'est vous qui payez.",
        },
        next_step={
            "rw": "Ongera ugerageze, wandike kode banki yawe ikoherereza.",
            "en": "Try again, and enter the code that your bank sends you.",
            "fr": "Réessayez et saisissez le code que votre banque vous envoie.",
        },
    ),
    FailureCode.NOT_SENT: Explanation(
        meaning="The request certainly never reached the provider. No money moved.",
        message={
            "rw": "Kwishyura ntibyatangiye. Nta mafaranga yavuye kuri konti yawe.",
            "en": "The payment could not be started. No money left your account.",
            "fr": "Le paiement n'a pas pu démarrer. Aucune somme n'a été débitée.",
        },
        next_step={
            "rw": "Ongera ugerageze mu minota mike.",
            "en": "Try again in a few minutes.",
            "fr": "Réessayez dans quelques minutes.",
        },
    ),
    FailureCode.GATEWAY_ERROR: Explanation(
        meaning="The provider had trouble of its own, and says that no money moved.",
        message={
            "rw": "Serivisi yo kwishyura yagize ikibazo, kwishyura ntibyarangira.",
            "en": "The payment service had a problem and could not finish.",
            "fr": "Le service de paiement a rencontré un problème et n'a pas pu terminer.",
        },
        next_step={
            "rw": "Ongera ugerageze nyuma, cyangwa wishyure mu bundi buryo.",
            "en": "Try again later, or pay in another way.",
            "fr": "Réessayez plus tard ou payez d'une autre manière.",
        },
    ),
    FailureCode.GATEWAY_CONFIGURATION: Explanation(
        meaning="The merchant's account or its settings are at fault. Staff must act.",
        message={
            "rw": "Ubu buryo bwo kwishyura ntibukora muri iki gihe.",
            "en": "This way to pay is not available at the moment.",
            "fr": "Ce moyen de paiement n'est pas disponible pour le moment.",
        },
        next_step={
            "rw": "Ishyura mu bundi buryo, cyangwa ubimenyeshe umucuruzi.",
            "en": "Pay in another way, or let the seller know.",
            "fr": "Payez d'une autre manière ou prévenez le vendeur.",
        },
        retryable=False,
    ),
    FailureCode.CANCELLED: Explanation(
        meaning="The payment was withdrawn before it was paid.",
        message={
            "rw": "Ubwishyu bwahagaritswe.",
            "en": "The payment was cancelled.",
            "fr": "Le paiement a été annulé.",
        },
        next_step={
            "rw": "Niba ugishaka kwishyura, tangira bushya.",
            "en": "If you still want to pay, start a new payment.",
            "fr": "Si vous souhaitez toujours payer, commencez un nouveau paiement.",
        },
        retryable=False,
    ),
    FailureCode.EXPIRED: Explanation(
        meaning="The payment's time was over before it was paid. Late money is still noticed.",
        message={
            "rw": "Igihe cyo kwishyura cyarangiye.",
            "en": "The time to pay is over.",
            "fr": "Le délai de paiement est écoulé.",
        },
        next_step={
            "rw": "Tangira ubwishyu bushya. Niba wamaze kwishyura, bimenyeshe umucuruzi.",
            "en": "Start a new payment. If you have already paid, tell the seller.",
            "fr": "Commencez un nouveau paiement. Si vous avez déjà payé, prévenez le vendeur.",
        },
        retryable=False,
    ),
    FailureCode.OTHER: Explanation(
        meaning="The provider said no for a reason that has no code here; its own word is kept.",
        message={
            "rw": "Kwishyura ntibyakunze.",
            "en": "The payment did not go through.",
            "fr": "Le paiement n'a pas abouti.",
        },
        next_step={
            "rw": "Ongera ugerageze, cyangwa wishyure mu bundi buryo.",
            "en": "Try again, or pay in another way.",
            "fr": "Réessayez ou payez d'une autre manière.",
        },
    ),
}
