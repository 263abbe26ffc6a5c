"""The words on documents, in Kinyarwanda, English and French."""

from collections.abc import Mapping

from dusangire.languages import LANGUAGES, in_language

WORDS: Mapping[str, Mapping[str, str]] = {
    "invoice": {"en": "Invoice", "fr": "Facture", "rw": "Fagitire"},
    "tax_invoice": {"en": "Tax invoice", "fr": "Facture TVA", "rw": "Fagitire ya TVA"},
    "proforma": {"en": "Proforma invoice", "fr": "Facture proforma", "rw": "Fagitire proforma"},
    "credit_note": {
        "en": "Credit note",
        "fr": "Note de crédit",
        "rw": "Inyandiko yo kugabanya umwenda",
    },
    "number": {"en": "Number", "fr": "Numéro", "rw": "Nomero"},
    "issued": {"en": "Date", "fr": "Date", "rw": "Itariki"},
    "due": {"en": "Due date", "fr": "Échéance", "rw": "Igihe ntarengwa cyo kwishyura"},
    "original": {"en": "For invoice", "fr": "Sur la facture", "rw": "Kuri fagitire"},
    "reference": {
        "en": "Payment reference",
        "fr": "Référence du paiement",
        "rw": "Nomero y'ubwishyu",
    },
    "seller": {"en": "Seller", "fr": "Vendeur", "rw": "Umucuruzi"},
    "customer": {"en": "Customer", "fr": "Client", "rw": "Umukiriya"},
    "tin": {"en": "TIN", "fr": "TIN", "rw": "TIN"},
    "phone": {"en": "Phone", "fr": "Tél.", "rw": "Telefoni"},
    "purchase_code": {"en": "Purchase code", "fr": "Code d'achat", "rw": "Kode yo kugura"},
    "description": {"en": "Description", "fr": "Désignation", "rw": "Ibisobanuro"},
    "quantity": {"en": "Quantity", "fr": "Quantité", "rw": "Ingano"},
    "unit_price": {"en": "Unit price", "fr": "Prix unitaire", "rw": "Igiciro cya kimwe"},
    "rate": {"en": "Class", "fr": "Classe", "rw": "Icyiciro"},
    "vat": {"en": "VAT", "fr": "TVA", "rw": "TVA"},
    "exempt": {"en": "exempt", "fr": "exonéré", "rw": "isonewe"},
    "total": {"en": "Total", "fr": "Total", "rw": "Igiteranyo"},
    "net": {"en": "Total without VAT", "fr": "Total hors TVA", "rw": "Igiteranyo kidafite TVA"},
    "taxable": {"en": "Taxable", "fr": "Base", "rw": "Isoreshwa"},
    "with_vat": {"en": "With VAT", "fr": "TVA comprise", "rw": "Hamwe na TVA"},
    "due_amount": {
        "en": "Amount due",
        "fr": "Montant dû",
        "rw": "Amafaranga agomba kwishyurwa",
    },
    "paid": {"en": "Paid", "fr": "Payé", "rw": "Byishyuwe"},
    "void": {"en": "Cancelled", "fr": "Annulée", "rw": "Yaravanyweho"},
    "payment": {"en": "Payment", "fr": "Paiement", "rw": "Ubwishyu"},
    "paid_at": {"en": "Paid on", "fr": "Payé le", "rw": "Byishyuwe ku wa"},
    "method": {"en": "Method", "fr": "Moyen", "rw": "Uburyo"},
    "bank": {"en": "Bank", "fr": "Banque", "rw": "Banki"},
    "account": {"en": "Account", "fr": "Compte", "rw": "Konti"},
    "account_name": {"en": "Account name", "fr": "Titulaire", "rw": "Nyiri konti"},
    "transfer_reference": {
        "en": "Write as reference",
        "fr": "Référence à indiquer",
        "rw": "Impamvu yo kohereza",
    },
    "scan_to_pay": {"en": "Scan to pay", "fr": "Scannez pour payer", "rw": "Sikana wishyure"},
    "scan_to_see": {
        "en": "Scan to see your payment",
        "fr": "Scannez pour suivre votre paiement",
        "rw": "Sikana urebe ubwishyu bwawe",
    },
    "prices_with_vat": {
        "en": "Amounts in {currency}. Prices include VAT.",
        "fr": "Montants en {currency}. Les prix comprennent la TVA.",
        "rw": "Amafaranga ari muri {currency}. Ibiciro birimo TVA.",
    },
    "not_official": {
        "en": "PROFORMA. THIS IS NOT AN OFFICIAL RECEIPT.",
        "fr": "PROFORMA. CECI N'EST PAS UN REÇU OFFICIEL.",
        "rw": "PROFORMA. IYI SI INYEMEZABWISHYU YEMEWE.",
    },
    "not_fiscal": {
        "en": "This is not a fiscal receipt.",
        "fr": "Ceci n'est pas un reçu fiscal.",
        "rw": "Iyi si inyemezabwishyu ya EBM.",
    },
    "fiscal_follows": {
        "en": "This is not a fiscal receipt. The fiscal receipt (EBM) follows.",
        "fr": "Ceci n'est pas un reçu fiscal. Le reçu fiscal (EBM) suivra.",
        "rw": "Iyi si inyemezabwishyu ya EBM. Inyemezabwishyu ya EBM iraza nyuma.",
    },
    "no_seller": {
        "en": "[The seller's name is not set]",
        "fr": "[Le nom du vendeur n'est pas indiqué]",
        "rw": "[Izina ry'umucuruzi ntiryashyizweho]",
    },
    "no_tin": {"en": "[not set]", "fr": "[non indiqué]", "rw": "[ntiyashyizweho]"},
    "final_consumer": {"en": "Customer", "fr": "Client", "rw": "Umukiriya"},
    "page": {
        "en": "Page {page} of {pages}",
        "fr": "Page {page} sur {pages}",
        "rw": "Urupapuro {page} kuri {pages}",
    },
    "download": {"en": "Download the PDF", "fr": "Télécharger le PDF", "rw": "Kuramo PDF"},
}


def word(name: str, language: str) -> str:
    """A word of WORDS; in English where the language has none."""
    return in_language(WORDS[name], language)


def language_of(locale: str | None) -> str:
    """One of our languages for a locale such as `fr-RW`; English for any other."""
    language = (locale or "").replace("_", "-").partition("-")[0].strip().lower()
    return language if language in LANGUAGES else "en"
