"""Every address: health, enrolment and one's own session in front, the admin site for everything else."""

from django.contrib import admin
from django.urls import include, path

from keyvault_admin import health
from keyvault_admin.access import views

urlpatterns = [
    path("-/live", health.live, name="live"),
    path("-/ready", health.ready, name="ready"),
    path("enrol/", views.ShowLinkView.as_view(), name="enrol"),
    path("enrol/factor/", views.set_up_factor, name="enrol-factor"),
    path("account/", include("keyvault_admin.access.urls")),
    path("login/passkey/", views.PasskeyChallengeView.as_view(), name="passkey-sign-in"),
    path("login/return/", views.ReturnView.as_view(), name="sign-in-return"),
    path("", admin.site.urls),
]
