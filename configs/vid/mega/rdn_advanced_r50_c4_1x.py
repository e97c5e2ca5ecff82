# RDN, R-50 C4, with the advanced stage: distilled references first take from all others.
# Expected AP50 on ImageNet VID val: not published. The rest is as in rdn_r50_c4_1x.py.
_base_ = ['./rdn_r50_c4_1x.py']
model = dict(
    detector=dict(roi_head=dict(bbox_head=dict(aggregator=dict(advanced_stages=1)))),
)
