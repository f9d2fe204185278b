"""Every address: health and enrolment in front, the admin site for everything else."""

from django.contrib import admin
from django.urls import path

from keyvault_admin import health
from keyvault_admin.access import views
from keyvault_admin.access.views import ShowLinkView, set_up_factor

OWN_FACTORS = [
    path("account/factors/", views.FactorsView.as_view(), name="factors"),
    path("account/factors/app/new/", views.NewAppView.as_view(), name="factor-app-new"),
    path("account/factors/app/", views.AddAppView.as_view(), name="factor-app"),
    path("account/factors/passkey/", views.AddPasskeyView.as_view(), name="factor-passkey"),
    path("account/factors/passkey/options/", views.PasskeyOptionsView.as_view(), name="factor-passkey-options"),
    path("account/factors/recovery/", views.RecoveryCodesView.as_view(), name="factor-recovery"),
    path("account/factors/<slug:kind>/<int:pk>/remove/", views.RemoveFactorView.as_view(), name="factor-remove"),
    path("account/passkey/", views.OwnPasskeyChallengeView.as_view(), name="passkey-step-up"),
]

urlpatterns = [
    path("-/live", health.live, name="live"),
    path("-/ready", health.ready, name="ready"),
    path("enrol/", ShowLinkView.as_view(), name="enrol"),
    path("enrol/factor/", set_up_factor, name="enrol-factor"),
    path("login/passkey/", views.PasskeyChallengeView.as_view(), name="passkey-sign-in"),
    *OWN_FACTORS,
    path("", admin.site.urls),
]
