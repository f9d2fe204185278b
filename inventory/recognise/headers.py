"""Headers of columns → fields."""

import difflib
from collections.abc import Iterable

from inventory.recognise import foreign
from inventory.recognise.text import folded, squashed

_FIELD_WORDS = {
    "name": "name,key,key name,token,token name,secret,secret name,credential,credential name,identifier,title",
    "kind": "type,kind,key type,key kind,token type,secret type,credential type,type of key",
    "creator": "key creator,creator,created by,author,token creator,made by",
    "owner": "current key owner,key owner,owner,current owner,responsible,responsible person,owned by,token owner",
    "service": "service,system,application,app,service name,system name,application name,used by service",
    "service_description": "service description,system description,description of service,service and purpose",
    "purpose": "purpose,description,used for,usage,use",
    "created_on": "creation date,created,created at,created on,date created,date of creation,created date,created time,"
    "key creation date",
    "last_rotated_on": "last rotated date,last rotated,rotated,rotated at,rotated on,last rotation,last rotation date,"
    "date last rotated,last rotated on,last rotated at,rotation date",
    "environment": "environment,env,stage,environment name,deployment environment",
    "algorithm": "algorithm,cipher,key algorithm,cryptographic algorithm,algorithm and size",
    "size_bits": "size in bits,size,key size,key length,bits,key size bits,length in bits",
    "storage": "where stored,storage,stored in,stored at,location,storage location,storage medium,kept in",
    "access": "access to production or customer data,access to production or confidential customer data,access,"
    "production or customer data,access to prod or customer data,access to production or customer confidential data",
    "access_production": "prod access,production access,access to production,access to production data,access to prod,"
    "has access to production,production data",
    "access_customer": "customer data access,access to customer data,access to customer confidential data,"
    "customer data,"
    "access to confidential customer data,has access to customer confidential data,has access to customer data",
    "classification": "data class,classification,data classification,class,confidentiality,sensitivity",
    "notes": "notes,note,comment,remarks,remark",
}
_FIELDS = {squashed(text): name for name, texts in foreign.HEADERS.items() for text in foreign.listed(texts)} | {
    squashed(text): name for name, texts in _FIELD_WORDS.items() for text in texts.split(",")
}
FIELDS = tuple(_FIELD_WORDS)
_LONGEST_COMPARED = 40
_CLOSE = 0.8


def field_of(header: str) -> str:
    """Return which field a column holds, "" if its header is not understood.

    The fields are those of KeyFacts, but for `storage`, for `service_description` (service and purpose in one cell) and
    for `access_production` and `access_customer`, which speak of one of the two only.
    """
    word = squashed(header)
    return _FIELDS.get(word) or _FIELDS.get(word.removesuffix("s")) or ""


def suggested_field(header: str, taken: Iterable[str]) -> str:
    """Return the field that a header which is not understood may mean, for a person to confirm, or "".

    The word of ours that the header nearly is, else the longest one that stands in it; never a field that is taken.
    """
    word = squashed(header)
    if not word or len(word) > _LONGEST_COMPARED or field_of(header):
        return ""
    free = {one: name for one, name in _FIELDS.items() if name not in set(taken)}
    parts = {squashed(part) for part in folded(header).replace("(", " ").replace("/", " ").replace("_", " ").split()}
    held = [one for one in free if one in parts]
    near = difflib.get_close_matches(word, free, n=1, cutoff=_CLOSE)
    best = near[0] if near else max(held, key=len, default="")
    return free.get(best, "")
