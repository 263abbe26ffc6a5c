"""Message signing: an AES key made for one body, and that key encrypted for Airtel.

Airtel calls it a signature. It decrypts `x-key`, encrypts the body it received with it, and
compares that with `x-signature`: so the body must be sent exactly as it was encrypted.
"""

import base64
import binascii
import secrets

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from dusangire_airtel.config import Padding

_KEY_BYTES = 32
_IV_BYTES = 16
# The key and IV in Base64 with a colon are 69 bytes. OAEP with SHA-256 leaves 62 of 1024 bits.
_OAEP_NEEDS = 2048


class UnusableKey(Exception):
    """Airtel's public key cannot encrypt a message key."""


def signed_headers(body: bytes, public_key: RSAPublicKey, padding: Padding) -> dict[str, str]:
    """`x-signature` and `x-key` for these bytes, with a key of their own. Raises UnusableKey."""
    key, iv = secrets.token_bytes(_KEY_BYTES), secrets.token_bytes(_IV_BYTES)
    chosen = choose(padding, public_key)
    try:
        wrapped = public_key.encrypt(key_text(key, iv), scheme(chosen))
    except ValueError as error:
        raise UnusableKey(
            f"Airtel's key of {public_key.key_size} bits is too small for padding {chosen}"
        ) from error
    headers = {"x-signature": signature(body, key, iv), "x-key": base64.b64encode(wrapped).decode()}
    # Where OAEP is in use, one implementation was seen to announce it so.
    return headers | ({"v2-padding": "true"} if chosen is Padding.OAEP else {})


def signature(body: bytes, key: bytes, iv: bytes) -> str:
    """AES-256-CBC of the body with PKCS#7 padding, in Base64."""
    padder = PKCS7(algorithms.AES.block_size).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    padded = padder.update(body) + padder.finalize()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def key_text(key: bytes, iv: bytes) -> bytes:
    """What is encrypted as `x-key`."""
    return base64.b64encode(key) + b":" + base64.b64encode(iv)


def read_key(text: str) -> RSAPublicKey:
    """Airtel's public key: Base64 of a DER SubjectPublicKeyInfo. Raises UnusableKey."""
    try:
        key = serialization.load_der_public_key(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise UnusableKey("Airtel's public key cannot be read") from error
    if not isinstance(key, RSAPublicKey):
        raise UnusableKey("Airtel's public key is not an RSA key")
    return key


def choose(padding: Padding, public_key: RSAPublicKey) -> Padding:
    """The padding in words; AUTO goes by the key, since both of Airtel's ways have their own."""
    if padding is not Padding.AUTO:
        return padding
    return Padding.OAEP if public_key.key_size >= _OAEP_NEEDS else Padding.PKCS1V15


def scheme(padding: Padding) -> AsymmetricPadding:
    """The padding as the library has it."""
    if padding is Padding.OAEP:
        sha256 = hashes.SHA256()
        return rsa_padding.OAEP(rsa_padding.MGF1(sha256), sha256, None)
    return rsa_padding.PKCS1v15()
