"""Inputs that once showed a defect: each is tried by every test run, and fuzzing begins with it too."""

from __future__ import annotations

import base64
import json
import zlib


def _tensors(*shape: int, data: bytes = b"") -> bytes:
    """Make a safetensors file of one tensor."""
    place = {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}
    header = json.dumps({"m": place}).encode()
    return len(header).to_bytes(8, "little") + header + data


def _config(steps: str, model: str = "tiny") -> bytes:
    return (
        f'{{"method": "lora", "model": {{"model_name_or_path": "{model}"}}, '
        f'"training": {{"max_steps": {steps}}}}}'
    ).encode()


_IMPOSSIBLE = [
    _tensors(*[1] * 100, data=bytes(4)),  # more dimensions than numpy has
    _tensors(0, 1 << 63),  # a side beyond numpy's
    _tensors(0, 1 << 40, 1 << 40),  # sides whose product is
]
_DEEP = b"[" * 60_000
_YAML = [b"name: 2026-13-45", b"name: !!timestamp x", b"name: !!int ''", b"name: " + b"[" * 400]
_PREPARED = (
    '{"done": "prepare", "examples": %s, "capabilities": "%s", '
    '"space": "", "evaluation_examples": 3}'
)

# A journal whose pages lead back to themselves.
_ROUND_AND_ROUND = (
    "c-rlm-%r~{9KcOV3zeYT!=ya)p{Ls>Ks8x11QnU4Efm9|rcUd)qS1t`i+vEUmpgMlM?}b~%wzx3{ttWDzP1yfv@2"
    "EHx829Gb-w%lzVpLZ?mh2>ilQSSM?|3w<6EOrF@8tLFpSFdo-seYXUt7+qs3KZe3*(+^XHax#pQG3o7eZ=-g^!Mj"
    "Ygxn;GZeF5*m$0qtR&o4`iMBh5PH(#dA-|@c5WYI;LECTzHa3jQF&8f9zN-*Fvt--ru(zbX^ARSbJT^LT$TeIWFq"
    "jr35<o!?Ka}vfXogXtif`tj8{DpgpJi^ilxSVtRspMYeTNgV7oo+i%-wD(<w}J!`eK({)@Et*9YIe~CnL!cZ6^5="
    "E2;>w>e%%Gxi;vUjuZZY|t@SY6CcuBQ`FM%Bl&DMe<<>_Pw_b&<@Mg;n{Fu#zYsH-uG+%))x{Y`68b!g@WoP_0(y"
    "vO`4%tPG-fRA!;Hb~@J7&uYF)ZQHf-*q%A<r!A+Co>+Yo5#_}Q6gtT6y2yUf>6qwM$OGhBFWoD10})K#om<O$^Tn"
    "n9dYd1GJXDkAlcm3x-YoU?cd5~6G#ZUYqtR$SnV%MK8+RXcWx_q^d1!EkeKCsi_6|3dOsI(^C9&YRi37nYPR0Hm<"
    "L-L)o6o|$?Fwk@%WzOA7Be8og;Yaq;v?d#7&p&wK*ymE2C*L{Fh8OrAt&Boq9`ms+IUpo-rQ_#H8xGG#4E~UFQU?"
    "erR~~gnyNeC@IiJ!$Al%&-+?D75+2}Y!+hT-JtcYgpuABxF%vP2>NT)Td_R%IpWr4>7&9@r0J&4>rNB^a%gl`)Q;"
    "(JF>EUhg`hE6e5u`T~;~V@2p`^YFi$Wz4Ohk!{L`;j<ye);PX~Ns}dYbLcgZ+o+qFnSqnTF#JR`Jql5FXPwUm}Bx"
    "t9QeX;Q{%K>z!Dy*0k|6yvB+~Fy6{H61sH1*y6I%XZVLBCP)!J;W$mxZ2J}@x^mtx((ociIKNg(F@#KU^UrC<hbB"
    "HrgiJ<d&Xfc!<TO7HTlHG~%6TM=<#h&&x#L2)0s{zYC<1)tjDN`=@g`&@3BJraO`#wh&dLxD7L<UTda)vma+(*QJ"
    "X?w~n%4%7)>)cvRNxa^=@uLNFWNKd@B"
)

FOUND: dict[str, list[bytes]] = {
    "journal": [zlib.decompress(base64.b85decode(_ROUND_AND_ROUND))],
    "tensors": _IMPOSSIBLE,
    "state": _IMPOSSIBLE,
    "model, tensors": _IMPOSSIBLE,
    "event": [
        b"client_joined " + _DEEP,
        b'phase_timed {"round": 1, "phase": "fold", "seconds": ' + b"9" * 400 + b"}",
    ],
    "space file": [
        _DEEP,
        b'{"factors": {"m": "ab"}, "weights": {}, "base_model": "", "model_parameters": 1}',
    ],
    "run folder": [b"# config hash: 0123\n" + each for each in _YAML],
    "yaml": _YAML,
    "settings": _YAML,
    "config in hello": [_config("Infinity"), _config("6", "\\ud800")],
    "trainer's answer": [
        (_PREPARED % ("1", "é")).encode(),
        (_PREPARED % ("-1", "")).encode(),
        b'{"step": "3", "of": 6, "loss": 0.5}',
        b'{"failed": "train", "reason": [], "fatal": false}',
        b'{"failed": "train", "reason": "\\udcff", "fatal": false}',
        b'{"done": "train", "update": "\\u0000", "blob": null, "steps": 1}',
        b'{"done": "evaluate", "examples": 1, "metrics": {"loss": ' + b"9" * 400 + b"}}",
        b'{"done": "evaluate", "examples": 1, "metrics": {"\\ud800": 0.5}}',
    ],
    "identity file": [
        _DEEP,
        b'{"fleet": 1, "client": 2, "coordinator": 3, "enrolment": 4, "certificate": 5, "roots": 6, '
        b'"key": 7}',
    ],
    "retry hint": [b"9" * 5000],
}
