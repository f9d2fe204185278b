"""The same words in German, French and Spanish. Keys are our fields and stored values; words are separated by commas.

Spelling is forgiving: accents may be missing, and "ue" stands for "ü". Only words that mean one thing are here.
"""

import unicodedata
from collections.abc import Iterable

_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"})

HEADERS = {
    "name": "bezeichnung,schlüsselname,schlüssel,name des schlüssels,schlüsselbezeichnung,geheimnis,"
    "nom,nom de la clé,clé,identifiant,intitulé,"
    "nombre,nombre de la clave,clave,identificador",
    "kind": "art,typ,schlüsseltyp,schlüsselart,art des schlüssels,genre,type de clé,tipo,tipo de clave,clase de clave",
    "creator": "ersteller,erstellt von,erzeugt von,angelegt von,erzeuger,urheber,schlüsselersteller,"
    "créateur,créé par,créée par,auteur,"
    "creador,creado por,creada por,autor",
    "owner": "besitzer,eigentümer,verantwortlich,verantwortlicher,verantwortliche person,aktueller besitzer,"
    "aktueller eigentümer,inhaber,schlüsselbesitzer,schlüsselverantwortlicher,zuständig,"
    "propriétaire,responsable,détenteur,propriétaire actuel,"
    "propietario,dueño,titular,propietario actual",
    "service": "dienst,system,anwendung,dienstname,systemname,service concerné,système,servicio,sistema,aplicación",
    "service_description": "dienstbeschreibung,beschreibung des dienstes,systembeschreibung,servicebeschreibung,"
    "description du service,descripción del servicio",
    "purpose": "zweck,verwendungszweck,beschreibung,verwendung,verwendet für,"
    "usage prévu,utilisation,finalité,objet,"
    "descripción,finalidad,propósito,uso",
    "created_on": "erstellungsdatum,erstellt am,erstellt,angelegt am,erzeugt am,anlagedatum,datum der erstellung,"
    "date de création,créé le,créée le,"
    "fecha de creación,creado el,creada el,fecha de alta",
    "last_rotated_on": "zuletzt rotiert,letzte rotation,zuletzt rotiert am,rotiert am,datum der letzten rotation,"
    "zuletzt gewechselt,letzter wechsel,zuletzt erneuert,letzte erneuerung,"
    "dernière rotation,date de dernière rotation,date de la dernière rotation,renouvelé le,dernier renouvellement,"
    "última rotación,fecha de última rotación,fecha de la última rotación,rotado el,última renovación",
    "environment": "umgebung,systemumgebung,zielumgebung,environnement,entorno,ambiente",
    "algorithm": "algorithmus,verfahren,kryptoverfahren,verschlüsselungsverfahren,algorithme,algoritmo",
    "size_bits": "schlüssellänge,schlüsselgröße,länge in bit,bitlänge,"
    "taille de clé,taille,longueur de clé,longueur,tamaño,tamaño de clave,longitud,longitud de clave",
    "storage": "ablageort,gespeichert in,speicherort,ablage,aufbewahrungsort,abgelegt in,"
    "stocké dans,stockée dans,lieu de stockage,stockage,emplacement,"
    "almacenado en,almacenada en,almacenamiento,ubicación,guardado en",
    "access": "zugriff auf produktions- oder kundendaten,zugriff auf produktionsdaten oder kundendaten,zugriff,"
    "accès aux données de production ou clients,accès aux données de production ou aux données clients,accès,"
    "acceso a datos de producción o de clientes,acceso a datos de producción o clientes,acceso",
    "access_production": "zugriff auf produktionsdaten,zugriff auf produktion,produktionszugriff,produktionsdaten,"
    "accès aux données de production,accès à la production,données de production,"
    "acceso a datos de producción,acceso a producción,datos de producción",
    "access_customer": "zugriff auf kundendaten,kundendatenzugriff,kundendaten,"
    "accès aux données clients,données clients,acceso a datos de clientes,datos de clientes",
    "classification": "datenklasse,klassifizierung,datenklassifizierung,schutzklasse,vertraulichkeit,einstufung,"
    "classification des données,confidentialité,classe de données,"
    "clasificación,clasificación de datos,confidencialidad,clase de datos",
    "consumers": "verwendet von,genutzt von,benutzt von,verbraucher,nutzende dienste,"
    "utilisé par,utilisée par,services utilisateurs,consommateurs,"
    "usado por,usada por,utilizado por,utilizada por,consumidores",
    "approved_consumers": "freigegeben für,zugelassene dienste,genehmigte dienste,zugelassene verbraucher,"
    "autorisé pour,autorisée pour,services autorisés,consommateurs autorisés,"
    "aprobado para,aprobada para,servicios autorizados,consumidores autorizados",
    "wrapped_by": "verpackt mit,verschlüsselt mit,umhüllt von,"
    "enveloppé par,enveloppée par,chiffré par,chiffrée par,"
    "envuelto por,envuelta por,cifrado por,cifrada por",
    "derived_from": "abgeleitet von,abgeleitet aus,dérivé de,dérivée de,derivado de,derivada de",
    "notes": "bemerkungen,bemerkung,notizen,notiz,anmerkungen,anmerkung,kommentar,kommentare,hinweise,"
    "remarques,remarque,commentaire,commentaires,"
    "notas,nota,observaciones,comentario,comentarios",
}
KINDS = {
    "kek": "schlüsselverschlüsselungsschlüssel,clé de chiffrement de clés,clave de cifrado de claves",
    "dek": "datenverschlüsselungsschlüssel,datenschlüssel,clé de chiffrement de données,clave de cifrado de datos",
    "api_token": "api-schlüssel,api-zugangstoken,zugriffstoken,zugangstoken,clé api,clé d'api,jeton api,jeton d'api,"
    "jeton d'accès,clave api,clave de api,token de api,token de acceso",
    "personal_token": "persönliches zugriffstoken,persönlicher zugriffsschlüssel,persönliches token,"
    "jeton personnel,jeton d'accès personnel,token personal,token de acceso personal",
    "tls_certificate": "tls-zertifikat,ssl-zertifikat,serverzertifikat,zertifikat,clientzertifikat,"
    "certificat,certificat tls,certificat ssl,certificat serveur,certificado,certificado tls,certificado ssl",
    "ca_certificate": "ca-zertifikat,wurzelzertifikat,zwischenzertifikat,zertifizierungsstelle,"
    "certificat racine,certificat d'autorité,autorité de certification,"
    "certificado raíz,certificado de ca,autoridad de certificación",
    "ssh_key": "ssh-schlüssel,ssh-hostschlüssel,clé ssh,clave ssh,llave ssh",
    "signing_key": "signaturschlüssel,signierschlüssel,jwt-signaturschlüssel,clé de signature,clave de firma",
    "hmac_key": "hmac-schlüssel,hmac-geheimnis,clé hmac,secret hmac,clave hmac,secreto hmac",
    "database_credential": "datenbankpasswort,datenbankkennwort,datenbankzugang,db-passwort,db-kennwort,"
    "mot de passe de base de données,mot de passe bdd,"
    "contraseña de base de datos,credencial de base de datos",
    "webhook_secret": "webhook-geheimnis,webhook-schlüssel,secret de webhook,secreto de webhook",
    "bootstrap_secret": "bootstrap-geheimnis,startgeheimnis,secret d'amorçage,secreto de arranque",
    "backup_key": "backup-schlüssel,sicherungsschlüssel,datensicherungsschlüssel,clé de sauvegarde,"
    "clave de copia de seguridad,clave de respaldo",
    "master_key": "hauptschlüssel,masterschlüssel,generalschlüssel,clé maîtresse,clé maître,clave maestra",
    "provider_managed": "anbieterverwaltet,vom anbieter verwaltet,géré par le fournisseur,gestionado por el proveedor",
}
ENVIRONMENTS = {
    "production": "produktion,produktiv,prod-umgebung,echtbetrieb,en production,producción",
    "staging": "abnahme,vorproduktion,preproduktion,integration,préproduction,préprod,recette,preproducción",
    "test": "testumgebung,qualitätssicherung,essai,essais,pruebas,prueba",
    "development": "entwicklung,entwicklungsumgebung,lokal,développement,desarrollo",
}
CLASSIFICATIONS = {
    "public": "öffentlich,publique,público,pública",
    "internal": "intern,nur intern,interne,usage interne,interno,interna,uso interno",
    "confidential": "vertraulich,confidentiel,confidentielle,confidencial",
    "restricted": "streng vertraulich,geheim,eingeschränkt,strictement confidentiel,très confidentiel,secret,"
    "restreint,estrictamente confidencial,muy confidencial,restringido,restringida",
}
MEDIA = {
    "password_manager": "passwortmanager,passwort manager,passwort tresor,kennwortmanager,"
    "gestionnaire de mots de passe,gestor de contraseñas",
    "environment_variable": "umgebungsvariable,umgebungsvariablen,variable d environnement,"
    "variables d environnement,variable de entorno,variables de entorno",
    "source_control": "quellcode,quelltext,code source,dépôt git,código fuente,repositorio",
    "hsm": "hardware sicherheitsmodul,module matériel de sécurité",
    "file": "datei,auf dem server,fichier,sur le serveur,archivo,fichero,en el servidor",
    "offline": "papier,papel,umschlag,usb stift,enveloppe,clé usb,sobre cerrado,memoria usb",
}
YES = "ja,j,wahr,oui,vrai,sí,si,verdadero"
NO = "nein,falsch,non,faux,falso"
NEVER = "nie,niemals,noch nie,nie rotiert,noch nie rotiert,jamais,jamais renouvelé,nunca,nunca rotado,nunca rotada"
UNKNOWN = (
    "unbekannt,keine angabe,k.a.,k. a.,nicht bekannt,entfällt,offen,keine,keiner,inconnu,inconnue,non renseigné,aucun,"
    "aucune,s.o.,desconocido,desconocida,ninguno,ninguna,no consta"
)
ACCESS_NONE = "keine,keiner,weder noch,aucun,aucune,ninguno,ninguna"
ACCESS_BOTH = "beide,beides,les deux,ambos,ambas"
MONTHS = (
    "januar,jänner,jan,janvier,janv,enero,ene",
    "februar,feber,feb,février,févr,fév,febrero",
    "märz,mär,mrz,mars,marzo,mar",
    "april,apr,avril,avr,abril,abr",
    "mai,mayo,may",
    "juni,jun,juin,junio",
    "juli,jul,juillet,juil,julio",
    "august,aug,août,agosto,ago",
    "september,sep,sept,septembre,septiembre,setiembre",
    "oktober,okt,octobre,oct,octubre",
    "november,nov,novembre,noviembre",
    "dezember,dez,décembre,déc,diciembre,dic",
)


def spellings(word: str) -> Iterable[str]:
    """Return a word as it is, without its accents, and with its umlauts written out."""
    bare = "".join(one for one in unicodedata.normalize("NFD", word) if not unicodedata.combining(one))
    return dict.fromkeys((word, bare, word.translate(_UMLAUTS)))


def listed(words: str) -> Iterable[str]:
    """Return every spelling of every word of a list."""
    return (spelling for word in words.split(",") for spelling in spellings(word))
