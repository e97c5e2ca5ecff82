# SELSA whose backbone is steered by STPN's prompts, written as parts: the same model as
# stpn_selsa_swin_tiny.py, under the name of SELSA. Not measured yet.
_base_ = 'stpn_selsa_swin_tiny.py'
model = dict(type='SELSA')
