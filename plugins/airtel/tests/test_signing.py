"""Message signing: Airtel's vector, both paddings, and exactly the bytes that are sent."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from dusangire_airtel.config import Padding
from dusangire_airtel.signing import (
    UnusableKey,
    choose,
    key_text,
    read_key,
    scheme,
    signature,
    signed_headers,
)

KEY = bytes.fromhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
IV = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
BODY = (
    b'{"reference":"ORDER1001","subscriber":{"country":"RW","currency":"RWF",'
    b'"msisdn":"730000001"},"transaction":{"amount":1500,"country":"RW","currency":"RWF",'
    b'"id":"PAY0000000001"}}'
)
SIGNATURE = (
    "P+TRpbOOYGFDB+aBdtB0Sj5gQABUriXxJ2rA89jDrpjZKLVUex9eMhyV8SOnKpjilDEvuO0Zt8vCK+dh02zFvbTA2CH8xg"
    "b5aRDrItT8imArvSQ2Nu0ojM/AHsqh+/qUELFU+DPrgvbgFWnuj0rv5ggYTz6LZe/LJ1yojkgXX9IVXc94aWdTIDW7UUvo"
    "Y/qCkNGLuPZPukKCMGOC2v7jfoLzsxGED18eaPWce/t+QjPcRlSUK7UhXojX9upq44Z/"
)
SMALL, LARGE = (rsa.generate_private_key(65537, size) for size in (1024, 2048))


def encoded(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def test_the_signature_is_the_one_that_airtel_expects() -> None:
    assert signature(BODY, KEY, IV) == SIGNATURE


def test_the_key_is_told_as_airtel_expects() -> None:
    told = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:8PHy8/T19vf4+fr7/P3+/w=="

    assert key_text(KEY, IV) == told


@pytest.mark.parametrize(
    ("key", "padding", "used"),
    [
        (SMALL, Padding.AUTO, Padding.PKCS1V15),
        (LARGE, Padding.AUTO, Padding.OAEP),
        (LARGE, Padding.PKCS1V15, Padding.PKCS1V15),
        (LARGE, Padding.OAEP, Padding.OAEP),
    ],
)
def test_airtel_can_read_the_body_back(
    key: rsa.RSAPrivateKey, padding: Padding, used: Padding
) -> None:
    headers = signed_headers(BODY, key.public_key(), padding)

    assert choose(padding, key.public_key()) is used
    text = key.decrypt(base64.b64decode(headers["x-key"]), scheme(used))
    secret, iv = (base64.b64decode(part) for part in text.split(b":"))
    decryptor = Cipher(algorithms.AES(secret), modes.CBC(iv)).decryptor()
    body = decryptor.update(base64.b64decode(headers["x-signature"])) + decryptor.finalize()
    assert body[: -body[-1]] == BODY
    assert (headers.get("v2-padding") == "true") == (used is Padding.OAEP)


@given(st.binary(max_size=200))
def test_a_body_is_padded_to_whole_blocks_of_aes(body: bytes) -> None:
    assert len(base64.b64decode(signature(body, KEY, IV))) == len(body) // 16 * 16 + 16


@given(st.binary(max_size=200))
def test_no_two_bodies_have_one_signature(body: bytes) -> None:
    assert (signature(body, KEY, IV) == SIGNATURE) == (body == BODY)


def test_each_request_has_a_key_of_its_own() -> None:
    one, other = (signed_headers(BODY, SMALL.public_key(), Padding.AUTO) for _ in range(2))

    assert one["x-signature"] != other["x-signature"]


def test_a_key_too_small_for_its_padding_is_named() -> None:
    with pytest.raises(UnusableKey, match="1024 bits is too small for padding oaep-sha256"):
        signed_headers(BODY, SMALL.public_key(), Padding.OAEP)


def test_a_key_is_read_as_airtel_gives_it() -> None:
    assert read_key(encoded(SMALL)).key_size == 1024


@pytest.mark.parametrize(
    "text", ["", "MIGf", "not Base64!", "é", encoded(ec.generate_private_key(ec.SECP256R1()))]
)
def test_what_is_no_rsa_key_is_named(text: str) -> None:
    with pytest.raises(UnusableKey):
        read_key(text)
